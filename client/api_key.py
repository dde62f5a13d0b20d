"""The API key of this process: read from the environment alone, checked, and explained where a server refuses it.

It is no option, as Locust would show it in its page and send it to workers in clear: each node reads its own.
"""

from __future__ import annotations

import os

from tokenswarm.client.option_values import OptionError
from tokenswarm.engines import EngineSpec
from tokenswarm.sanitize import API_KEY_VARIABLE, FORBIDDEN, UNAUTHORIZED

KEY_REFUSED = frozenset({UNAUTHORIZED, FORBIDDEN})
_SCHEME = "bearer "


def api_key() -> str:
    """This process's key, "" where it has none. To be sent to the server, and nowhere else."""
    return os.environ.get(API_KEY_VARIABLE, "")


def request_headers(engine: EngineSpec, key: str | None = None) -> dict[str, str]:
    """Headers of every request: the API key as the engine wants it, by default the one of this process's environment,
    if it has one. Raises OptionError."""
    key = api_key() if key is None else key
    _check_key(key)
    return engine.headers(key)


def _check_key(key: str) -> None:
    """Raises OptionError for a key that cannot be one. The text holds no character of it."""
    if key.lower().startswith(_SCHEME):
        raise OptionError(f"{API_KEY_VARIABLE} begins with 'Bearer ': set it to the key alone.")
    if key != key.strip():
        raise OptionError(f"{API_KEY_VARIABLE} begins or ends with a space or a line end: set it to the key alone.")
    for position, character in enumerate(key, start=1):
        if not (character.isascii() and character.isprintable()):
            raise OptionError(
                f"{API_KEY_VARIABLE}: the character at position {position} of {len(key)} cannot stand in an HTTP "
                "header; set the variable again."
            )
