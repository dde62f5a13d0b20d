"""Empties the servers' prefix caches by the endpoint that their engine has for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import gevent

from tokenswarm.client.request_options import ChatOptions, engine_of
from tokenswarm.client.server_address import base_url, origin_of
from tokenswarm.target.preflight import new_client
from tokenswarm.wire import WireError

logger = logging.getLogger(__name__)

#: An engine may refuse while requests run, as those that were just cut may.
_ATTEMPTS, _PAUSE_S = 3, 1.0
_LIMIT_S = 10.0
#: From here on a status is a refusal.
_NOT_OK = 300
NOT_FOUND = 404
#: How long the flush of one host may take, in seconds.
LONGEST_FLUSH_S = _ATTEMPTS * (_LIMIT_S + _PAUSE_S)


def flush_caches(
    options: ChatOptions, hosts: Sequence[str], sleep: Callable[[float], object] = gevent.sleep
) -> list[str]:
    """Empty the prefix cache of each host. Returns why that was refused, a clause for each host that did. Raises what
    an unusable address or option raises."""
    refusals = []
    for host in hosts:
        if (refusal := _flush(options, host, sleep)) is None:
            logger.info("The prefix cache of %s is flushed", base_url(host))
        else:
            refusals.append(f"{base_url(host)}: {refusal}")
    return refusals


def _flush(options: ChatOptions, host: str, sleep: Callable[[float], object]) -> str | None:
    """Why the host refuses; None where it has done it."""
    engine = engine_of(options)
    client = new_client(options, origin_of(host), engine)
    refusal = None
    try:
        for attempt in range(_ATTEMPTS):
            if attempt:
                sleep(_PAUSE_S)
            try:
                status = client.post_once(engine.flush_path, _LIMIT_S)
            except WireError as error:
                refusal = str(error)
                continue
            if status < _NOT_OK:
                return None
            refusal = f"POST {engine.flush_path} was answered by HTTP {status}"
            if status == NOT_FOUND:
                return f"{refusal}{f'; {engine.flush_needs}' if engine.flush_needs else ''}"
    finally:
        client.close()
    return refusal
