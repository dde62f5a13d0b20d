"""Which ports this process listens on: for the web page, workers and Prometheus. Two on one machine must not clash."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, replace
from itertools import combinations, count

from tokenswarm.cluster.master_port import check_master_port
from tokenswarm.cluster.protocol import FORKED_CLUSTER
from tokenswarm.command_line import (
    Collected,
    Given,
    collect_errors,
    first_free_port,
    free_port,
    or_who_has_it,
    why_no_address,
    why_not_free,
)
from tokenswarm.recording.prometheus import metrics_host_error

_LOOPBACK = "127.0.0.1"
#: Hosts that stand for every address, and a name that may stand for any of this machine.
_ANY_HOST = {"", "*", "0.0.0.0", "::", "localhost"}  # noqa: S104


class PortError(ValueError):
    """A given port is not available; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Listener:
    """Something of this process that listens. is_fixed: whether its port was given, or has to be known elsewhere."""

    what: str
    option: str
    host: str
    port: int
    is_fixed: bool

    def clashes(self, other: _Listener) -> bool:
        """Whether the two cannot listen at once."""
        hosts = {self.host, other.host}
        return self.port == other.port and (len(hosts) == 1 or not hosts.isdisjoint(_ANY_HOST))


def choose_ports(given: Given) -> list[str]:
    """Before anything listens: fill in the ports that were not given, and check those that were. Returns a sentence for
    each that is not the default. Raises PortError, MasterPortError, OptionErrors."""
    options, notices = given.options, []
    if options.worker:
        return []
    # A port that could not be read has a sentence already. That its default is taken is nothing to act on.
    given = replace(given, sources={name: place for name, place in given.sources.items() if name not in given.unread})
    with collect_errors() as errors:
        if options.processes:
            errors.of(_bind_for_forked_workers, given)
        if (options.processes or options.master) and "master_bind_port" not in given.unread:
            address = options.master_bind_host, options.master_bind_port
            errors.of(check_master_port, *address, _other_port(given), _port_option(given))
        errors.of(_check_distinct, given)
        notices += _keep_apart(given)
        if not options.headless or options.headful:
            notices += errors.of(_choose_web_port, given) or []
        _check_metrics_port(given, errors)
    return notices


def _listeners(given: Given) -> list[_Listener]:
    """All that this process listens with."""
    options, sources, found = given.options, given.sources, []
    if options.processes or options.master:
        port = options.master_bind_port
        found.append(_Listener("the master", "--master-bind-port", options.master_bind_host, port, is_fixed=True))
    if not options.headless or options.headful:
        is_given = "web_port" in sources
        found.append(_Listener("the web page", "--web-port", options.web_host, options.web_port, is_given))
    if 0 < options.metrics_port < 65536:
        is_given = "metrics_port" in sources
        found.append(_Listener("the metrics", "--metrics-port", options.metrics_host, options.metrics_port, is_given))
    return found


def _check_distinct(given: Given) -> None:
    """Raises PortError where two ports that cannot be replaced are the same."""
    fixed = [each for each in _listeners(given) if each.is_fixed]
    for one, other in combinations(fixed, 2):
        if one.clashes(other):
            raise PortError(
                f"{one.what} and {other.what} cannot both listen on port {one.port}: choose another port with "
                f"{one.option} or {other.option}."
            )


def _keep_apart(given: Given) -> list[str]:
    """Move a port that was not given away from those that were. Returns a sentence for each."""
    notices = []
    for name in ("web_port", "metrics_port"):
        for one in _listeners(given):
            if one.option != f"--{name.replace('_', '-')}" or one.is_fixed:
                continue
            fixed = [each for each in _listeners(given) if each.is_fixed]
            free = next(port for port in count(one.port) if not any(replace(one, port=port).clashes(e) for e in fixed))
            if free != one.port:
                (owner,) = [each.what for each in fixed if one.clashes(each)][:1]
                setattr(given.options, name, free)
                verb = "have" if one.what.endswith("s") else "has"
                notices.append(
                    f"Port {one.port} is given to {owner}: {one.what} {verb} port {free} ({one.option} chooses one)"
                )
    return notices


def _other_port(given: Given) -> str:
    """What to do where the port for workers is taken. Forked workers learn the port from their master."""
    options = [name for name in ("master_bind_port", "master_port") if name in given.sources]
    if given.options.processes and options:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in options)
        return f"Choose another port with {flags}, or leave {'it' if len(options) == 1 else 'both'} out."
    return "Choose another port with --master-bind-port (and --master-port for the workers)."


def _port_option(given: Given) -> str:
    """The option that has the port for workers."""
    of_workers = given.options.processes and "master_port" in given.sources and "master_bind_port" not in given.sources
    return "--master-port" if of_workers else "--master-bind-port"


def _bind_for_forked_workers(given: Given) -> None:
    """Forked workers inherit the port, and no other machine needs to reach it."""
    options, sources = given.options, given.sources
    if "master_bind_host" not in sources:
        options.master_bind_host = _LOOPBACK
    if "master_bind_port" not in sources:
        options.master_bind_port = (
            options.master_port if "master_port" in sources else free_port(options.master_bind_host)
        )
    if "master_port" not in sources:
        options.master_port = options.master_bind_port
    if "cluster" not in sources:
        options.cluster = FORKED_CLUSTER


def _choose_web_port(given: Given) -> list[str]:
    options: Namespace = given.options
    usual = options.web_port
    if not 0 < usual < 65536:
        raise PortError(f"--web-port takes a port from 1 to 65535, got {usual}.")
    if why := why_no_address(options.web_host):
        raise PortError(
            f"--web-host {options.web_host} is no address on which this machine can serve the web page ({why}): give "
            "one of its own, or leave the option out."
        )
    reason = why_not_free(options.web_host, usual)
    if reason is None:
        return []
    if "web_port" not in given.sources:
        avoid = [each.port for each in _listeners(given) if each.is_fixed]
        options.web_port = first_free_port(options.web_host, usual, avoid)
    if options.web_port == usual:
        raise PortError(
            f"the web page cannot listen on {options.web_host}:{usual} ({reason}); choose another port with "
            "--web-port, or another address with --web-host."
        )
    return [
        f"Port {usual} is taken (another Tokenswarm may be running): the web page has port {options.web_port} "
        "(--web-port chooses one)"
    ]


def _check_metrics_port(given: Given, errors: Collected) -> None:
    """A port that was not given is chosen when it is opened."""
    options = given.options
    if not 0 < options.metrics_port < 65536:
        return
    if why := why_no_address(options.metrics_host):
        errors.add(PortError(metrics_host_error(options.metrics_host, why)))
    elif "metrics_port" not in given.sources:
        return
    elif reason := why_not_free(options.metrics_host, options.metrics_port):
        errors.add(
            PortError(
                f"the metrics cannot be served on {options.metrics_host}:{options.metrics_port} "
                f"({or_who_has_it(reason, 'another Tokenswarm')}); choose another port with "
                "--metrics-port, or leave the option out to use "
                "a free one."
            )
        )
