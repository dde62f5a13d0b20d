"""How many tokens a block of the server's prefix cache holds."""

from __future__ import annotations

from typing import NamedTuple

from tokenswarm.client.request_options import ChatOptions, engine_of
from tokenswarm.client.server_address import origin_of
from tokenswarm.target.preflight import new_client
from tokenswarm.wire import WireError

_LIMIT_S = 4.0


class CacheBlock(NamedTuple):
    """tokens: of a block. source: `server`, where it says so, or `default`, the engine's."""

    tokens: int
    source: str


def cache_block_of(options: ChatOptions, host: str) -> CacheBlock | None:
    """Of the server, whose engine the options name; None where it is not known how the engine caches. Raises what an
    unusable address or option raises."""
    engine = engine_of(options)
    if engine.prefix_block_tokens is None:
        return None
    if engine.block_page is not None:
        client = new_client(options, origin_of(host), engine)
        try:
            status, body = client.fetch(engine.block_page.path, _LIMIT_S)
            found = engine.block_page.read(body.decode("utf-8", "replace")) if status == 200 else None
        except WireError:  # a master may not reach a server that its workers reach
            found = None
        finally:
            client.close()
        if found is not None:
            return CacheBlock(found, "server")
    return CacheBlock(engine.prefix_block_tokens, "default")
