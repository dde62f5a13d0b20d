"""A run of several hosts: what its servers have in common, and one preflight of all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import gevent

from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions
from tokenswarm.metrics.level import SystemPrompt
from tokenswarm.target.preflight import PreflightFailed, PreflightResult, preflight
from tokenswarm.target.server_detection import ReadyServer

logger = logging.getLogger(__name__)


def in_common(servers: Mapping[str, ReadyServer]) -> ReadyServer:
    """The servers of a run, by host, as one: of one engine, with one model to request. Versions may differ, and then
    all stand in the result. Raises OptionError, naming the hosts that differ."""
    first, *others = servers.values()
    if not others:
        return first
    for what, value_of in _MUST_AGREE.items():
        if len({value_of(server) for server in servers.values()}) > 1:
            raise OptionError(
                f"--host: all hosts of a run need the same {what}, got {_by_host(servers, value_of)}; leave out some, "
                f"or give --{what} if it is the same for all."
            )
    if len({server.found.version for server in servers.values()}) > 1:
        logger.warning("The hosts have different versions: %s", _by_host(servers, _version))
    ranges = [server.found.max_tokens_range for server in servers.values() if server.found.max_tokens_range]
    found = replace(
        first.found,
        version=", ".join(dict.fromkeys(map(_version, servers.values()))) if first.found.version else None,
        models=[name for name in first.found.models if all(name in other.found.models for other in others)],
        evidence=[f"{host}: {clue}" for host, server in servers.items() for clue in server.found.evidence],
        conflicting_engine=next(filter(None, (server.found.conflicting_engine for server in servers.values())), None),
        max_tokens_range=(max(low for low, _ in ranges), min(high for _, high in ranges)) if ranges else None,
    )
    return ReadyServer(found, first.model, sum(server.waited_s for server in servers.values()))


def _version(server: ReadyServer) -> str:
    return server.found.version or "unknown"


_MUST_AGREE: Mapping[str, Callable[[ReadyServer], str]] = {
    "engine": lambda server: server.found.engine,
    "model": lambda server: server.model,
}


def _by_host(servers: Mapping[str, ReadyServer], value_of: Callable[[ReadyServer], str]) -> str:
    return ", ".join(f"{value_of(server)!r} at {host}" for host, server in servers.items())


def preflight_hosts(
    options: ChatOptions,
    hosts: Sequence[str],
    modes: Collection[SystemPrompt],
    models: Sequence[str] = (),
    least_tokens: int = 1,
    sleep: Callable[[float], object] = gevent.sleep,
) -> PreflightResult:
    """The preflight of each host, with the same requests: what one host refuses is left out for all. Raises what
    `preflight` does, and PreflightFailed where two hosts need different requests."""
    notices: dict[str, None] = {}
    answered: dict[str, object] = {}
    for host in [*hosts, *hosts[:-1]]:
        if answered.get(host) == options.control.adaptations:
            continue
        if host in answered:
            logger.info(
                "Preflight: one more request of each kind to %s, as requests were adapted to another host", host
            )
        result = preflight(options, host, modes, models, least_tokens, sleep)
        notices |= dict.fromkeys(f"{host}: {notice}" if len(hosts) > 1 else notice for notice in result.notices)
        answered[host] = result.adaptations
        options = replace(options, control=replace(options.control, adaptations=result.adaptations))
    if any(adapted != options.control.adaptations for adapted in answered.values()):
        raise PreflightFailed(
            f"the hosts {', '.join(hosts)} need different requests, and a run sends all the same: run them one by one."
        )
    return PreflightResult(options.control.adaptations, tuple(notices))
