"""What authorises the requests of this process to a server: where it comes from."""

from __future__ import annotations

from typing import Any

import msgspec

from tokenswarm.client.api_key import api_key
from tokenswarm.client.custom_headers import secret_headers
from tokenswarm.client.request_options import AUTO, ChatOptions
from tokenswarm.client.server_address import origins_of
from tokenswarm.engines import ENGINES
from tokenswarm.sanitize import API_KEY_VARIABLE, SENT_WITH, SentKey
from tokenswarm.wire import Origin

_BASIC = "basic "


def sent_key(options: ChatOptions, server: Origin) -> SentKey:
    """What requests to the server have. Raises OptionError."""
    headers = secret_headers(options.control.headers, options.control.header_file)
    engine = ENGINES["openai" if options.engine == AUTO else options.engine]
    named = {name.lower() for name in headers}
    # A header that is given replaces the one that the variable would set.
    of_variable = engine.headers("KEY").items() - engine.headers("").items()
    missing = [f"{name}: {value}" for name, value in of_variable if name.lower() not in named]
    is_used = bool(api_key() and missing)
    return SentKey(
        (*([API_KEY_VARIABLE] if is_used else ()), *(source for source, _ in headers.values())),
        is_withheld=not options.may_have_key(server),
        is_password=any(value.lower().startswith(_BASIC) for _, value in headers.values()),
        is_bare=any(name.lower() == "authorization" and " " not in value for name, (_, value) in headers.items()),
        missing_header="" if is_used else "".join(missing),
    )


def sent_facts(options: ChatOptions, host: str) -> dict[str, Any]:
    """What run.json records of it, for the first of several hosts. Raises OptionError."""
    return {SENT_WITH: msgspec.to_builtins(sent_key(options, origins_of(host)[0]))}
