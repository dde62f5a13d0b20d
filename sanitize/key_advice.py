"""What authorised the requests to a server, and what to do where it is refused: the same before a run and after it."""

from __future__ import annotations

import msgspec

from tokenswarm.sanitize.process import API_KEY_VARIABLE

#: HTTP statuses by which a server refuses a key: it does not know it, or the key is not allowed to do this.
UNAUTHORIZED, FORBIDDEN = 401, 403
#: What the reason of a request says where the server challenges for a password.
BASIC_CHALLENGE = "the server requires a user name and password (HTTP Basic)"
BASIC_ADVICE = (
    "The server, or a proxy before it, requires a user name and password and no API key: give "
    "--header 'Authorization: Basic …' with the Base64 of NAME:PASSWORD"
)
#: Where run.json has a SentKey, among what it records of the requests.
SENT_WITH = "sent_with"
_NAMED = "Tokenswarm with this address, as -H or with --web-allow-target"
_NO_KEY_SET = (
    f"No {API_KEY_VARIABLE} is set: set it if the server needs a key. If it needs none, contact whoever runs the "
    "server or its proxy"
)
_KEY_REQUIRED = (
    f"The server requires an API key: set the variable {API_KEY_VARIABLE}. If it takes the key in a header of its own, "
    "use --header"
)


class SentKey(msgspec.Struct, frozen=True, omit_defaults=True):
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


def withheld_advice(sent: SentKey) -> str:
    """What to do where a key is kept from the server, as a sentence without its full stop; "" where none is."""
    if not sent.sources or not sent.is_withheld:
        return ""
    verb = "is" if len(sent.sources) == 1 else "are"
    sources = " and ".join(sent.sources)
    return f"{sources} {verb} not sent to this server, as the command line does not name it: start {_NAMED}"


def key_advice(status: int, sent: SentKey, model: str = "", wants_password: bool = False) -> str:
    """What to do about HTTP 401 or 403, as a sentence without its full stop. wants_password: whether the server
    requires a user name and password (HTTP Basic)."""
    if withheld := withheld_advice(sent):
        return withheld
    if wants_password and not sent.is_password:
        return BASIC_ADVICE
    if not sent.sources:
        named = f". A key is sent only to servers that the command line names: also start {_NAMED}"
        return f"{_NO_KEY_SET if status == FORBIDDEN else _KEY_REQUIRED}{named if sent.is_withheld else ''}"
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
