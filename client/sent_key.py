"""What authorises the requests of this process to a server: where it comes from, and what to do where it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from tokenswarm.client.api_key import BASIC_ADVICE, FORBIDDEN, api_key
from tokenswarm.client.custom_headers import secret_headers
from tokenswarm.client.request_options import AUTO, ChatOptions
from tokenswarm.engines import ENGINES
from tokenswarm.sanitize import API_KEY_VARIABLE
from tokenswarm.wire import Origin

_BASIC = "basic "
_NO_KEY_SET = (
    f"No {API_KEY_VARIABLE} is set: set it if the server needs a key. If it needs none, contact whoever runs the "
    "server or its proxy"
)
_KEY_REQUIRED = (
    f"The server requires an API key: set the variable {API_KEY_VARIABLE}. If it takes the key in a header of its own, "
    "use --header"
)


@dataclass(frozen=True, slots=True)
class SentKey:
    """sources: as messages name them, such as "LLM_API_KEY" or "--header Authorization"; is_withheld: whether they are
    kept from the server, which the command line does not name; is_password: whether a user name and password are among
    them (HTTP Basic); is_bare: whether the header Authorization has no scheme before its key; missing_header: the one
    that the variable would set for the engine, such as "Authorization: Bearer KEY", "" where requests have it."""

    sources: tuple[str, ...] = ()
    is_withheld: bool = False
    is_password: bool = False
    is_bare: bool = False
    missing_header: str = ""


NO_KEY = SentKey()


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


def withheld_advice(sent: SentKey) -> str:
    """What to do where a key is kept from the server, as a sentence without its full stop; "" where none is."""
    if not sent.sources or not sent.is_withheld:
        return ""
    verb = "is" if len(sent.sources) == 1 else "are"
    return (
        f"{' and '.join(sent.sources)} {verb} not sent to this server, as the command line does not name it: start "
        "Tokenswarm with --web-allow-target and this address"
    )


def key_advice(status: int, sent: SentKey, model: str = "", wants_password: bool = False) -> str:
    """What to do about HTTP 401 or 403, as a sentence without its full stop. wants_password: whether the server
    requires a user name and password (HTTP Basic)."""
    if withheld := withheld_advice(sent):
        return withheld
    if wants_password and not sent.is_password:
        return BASIC_ADVICE
    if not sent.sources:
        return _NO_KEY_SET if status == FORBIDDEN else _KEY_REQUIRED
    sources = " and ".join(sent.sources)
    if status == FORBIDDEN:
        model_too = f", --model {model!r}" if model else ""
        return (
            f"The request is refused with the key of {sources}: check what the key may use{model_too}, proxies "
            f"between, and whether the server reads {_header_advice(sent)}"
        )
    if sent.is_password and wants_password:
        return f"The server does not accept the user name and password of {sources}: give a valid one there"
    return _unaccepted_advice(sent, sources)


def _unaccepted_advice(sent: SentKey, sources: str) -> str:
    """What to do about HTTP 401 to a request with a key: it is wrong, or in a header that the server does not read."""
    key = f"key {'in' if sent.sources == (API_KEY_VARIABLE,) else 'of'} {sources}"
    if sent.missing_header:
        return f"The server does not accept the {key}, or does not read {_header_advice(sent)}"
    bare = " as Authorization: Bearer KEY, for it has no such scheme before the key" if sent.is_bare else ""
    comma = "," if bare else ""
    return (
        f"The server does not accept the {key}, or reads another header: give a valid key there{comma}{bare}, or the "
        "header that the server reads (see --header)"
    )


def _header_advice(sent: SentKey) -> str:
    """What to check of the headers that have the key, as the end of a sentence on what the server reads."""
    if not sent.missing_header:
        return "the key from another header (see --header)"
    which = "that header" if len(sent.sources) == 1 else "those headers"
    name = sent.missing_header.partition(":")[0]
    servers = "most servers read" if name.lower() == "authorization" else "servers of this engine read"
    return f"{which}: {servers} {sent.missing_header}, which the variable {API_KEY_VARIABLE} sets"
