"""Cuts secrets out of text, in whatever encoding they are repeated: a pure function of the secrets and the text."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: What stands where a secret stood.
MARK = "[secret]"
#: Shorter secrets are not looked for: the text would lose ordinary words.
SHORTEST_SECRET = 4
#: Of longer secrets, fragments of so many characters are cut out too; of shorter ones, only the whole.
SHORTEST_FRAGMENT = 8
#: Encoded text of fewer characters is found by chance too often.
_SHORTEST_ENCODED = 6
_BASE64_ALIGNMENTS = 3
#: An encoding may be encoded again.
_DECODING_ROUNDS = 3

#: The user and password of an address, wherever it stands.
_USER_INFO = re.compile(r"(?<=://)[^/?#\s\"'<>]*@")
#: Characters that begin an escape, or that may stand between the characters of a secret without being seen.
_MAY_HIDE = re.compile(r"\"\"|[%\\&\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_ESCAPE = re.compile(
    r"%(?P<percent>[0-9a-f]{2})"
    r"|\\u\{?0*(?P<unicode>[0-9a-f]{2})\}?"
    r"|\\x(?P<byte>[0-9a-f]{2})"
    r"|&\#x0*(?P<hex_entity>[0-9a-f]{2});?"
    r"|&\#0*(?P<entity>[0-9]{2,3});?"
    r"|&(?P<named>amp|lt|gt|quot|apos);"
    r"|\\(?P<escaped>.)"
    r"|\"(?P<doubled>\")"
    r"|(?P<unseen>[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff])",
    re.IGNORECASE | re.DOTALL,
)
_ESCAPES_BEGIN = '\\%&"'
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class _Form(NamedTuple):
    """One spelling of a secret, in lower case. A fragment of `least` characters is cut out; `word`: only where it
    stands as a word of its own."""

    text: str
    least: int
    word: bool = False

    def anchors(self) -> Iterator[tuple[int, str]]:
        """(place, piece): every fragment of `least` characters holds at least one of these pieces whole."""
        size = max(1, (self.least + 1) // 2)
        for place in range(0, len(self.text) - size + 1, size):
            yield place, self.text[place : place + size]


class _Decoded(NamedTuple):
    """Text in lower case without its escapes. Character i stands for source[starts[i]:ends[i]]."""

    text: str
    starts: list[int] | range
    ends: list[int] | range


class Redactor:
    """Replaces secrets with MARK: plain, in other case, URL-encoded, JSON- or HTML-escaped, as base64 or hexadecimal,
    and fragments of them. Credentials in addresses are replaced whoever they are of."""

    def __init__(
        self, secrets: Iterable[str], shortest_fragment: int = SHORTEST_FRAGMENT, whole: Iterable[str] = ()
    ) -> None:
        """Secrets shorter than `shortest_fragment` are cut out whole, as words, and only if `shortest_fragment` is
        SHORTEST_FRAGMENT; those shorter than SHORTEST_SECRET are not looked for. whole: secrets whose fragments stay,
        as they may be ordinary words."""
        forms = {form for secret in secrets for form in _forms(secret, shortest_fragment)}
        forms |= {form for secret in whole for form in _forms(secret, max(len(secret), shortest_fragment))}
        self._anchors = [(place, piece, form) for form in sorted(forms) for place, piece in form.anchors()]

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if "://" in text and "@" in text:
            text = _USER_INFO.sub(f"{MARK}@", text)
        if not self._anchors or not text:
            return text
        decoded = _decoded(text)
        spans = sorted((decoded.starts[first], decoded.ends[behind - 1]) for first, behind in self._found(decoded.text))
        return _without(text, spans) if spans else text

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        for place, piece, form in self._anchors:
            at = text.find(piece)
            while at >= 0:
                first, behind = _extended(text, at, form.text, place, len(piece))
                found = behind - first >= form.least and not (form.word and _inside_word(text, first, behind))
                if found:
                    yield first, behind
                at = text.find(piece, behind if found else at + 1)


def _forms(secret: str, shortest_fragment: int) -> Iterator[_Form]:
    plain = _decoded(secret).text
    if len(plain) < SHORTEST_SECRET:
        return
    # What begins an escape at its end is one with whatever follows it.
    if len(whole := plain.rstrip(_ESCAPES_BEGIN)) >= SHORTEST_SECRET:
        plain = whole
    if len(plain) < SHORTEST_FRAGMENT:
        if shortest_fragment <= SHORTEST_FRAGMENT:
            yield _Form(plain, len(plain), word=True)
    else:
        yield _Form(plain, min(len(plain), shortest_fragment))
    for variant in dict.fromkeys((secret, secret.lower(), secret.upper())):
        raw = variant.encode("utf-8", "surrogatepass")
        yield from _encoded_forms([raw.hex()], min(len(raw), shortest_fragment) * 2)
        for encode in (b64encode, urlsafe_b64encode):
            yield from _encoded_forms(_base64_cores(raw, encode), shortest_fragment)


def _encoded_forms(texts: Iterable[str], least: int) -> Iterator[_Form]:
    for text in texts:
        if len(text) >= _SHORTEST_ENCODED:
            yield _Form(text.lower(), min(len(text), max(least, _SHORTEST_ENCODED)))


def _base64_cores(raw: bytes, encode: object) -> Iterator[str]:
    """What base64 of any text around these bytes holds, by the place of the first in a group of three: the characters
    that depend on no neighbour."""
    assert callable(encode)
    for offset in range(_BASE64_ALIGNMENTS):
        encoded: bytes = encode(b"\0" * offset + raw)
        first = -(-offset * 8 // 6)
        yield encoded.decode()[first : (offset + len(raw)) * 8 // 6]


def _decoded(text: str) -> _Decoded:
    lowered = text.lower()
    if len(lowered) != len(text):  # a few letters have two in lower case
        lowered = "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)
    decoded = _Decoded(lowered, range(len(text)), range(1, len(text) + 1))
    for _ in range(_DECODING_ROUNDS):
        if not _MAY_HIDE.search(decoded.text):
            break
        decoded = _decoded_once(decoded)
    return decoded


def _decoded_once(source: _Decoded) -> _Decoded:
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for match in _ESCAPE.finditer(source.text):
        first, behind = match.span()
        meant = _meaning(match)
        pieces += (source.text[at:first], meant)
        starts += source.starts[at:first]
        ends += source.ends[at:first]
        if meant:
            starts.append(source.starts[first])
            ends.append(source.ends[behind - 1])
        at = behind
    pieces.append(source.text[at:])
    starts += source.starts[at:]
    ends += source.ends[at:]
    return _Decoded("".join(pieces), starts, ends)


def _meaning(match: re.Match[str]) -> str:
    """The character that an escape stands for, in lower case; "" for one that cannot be seen."""
    kind, given = match.lastgroup, match[match.lastgroup or 0]
    if kind in ("percent", "unicode", "byte", "hex_entity"):
        meant = chr(int(given, 16))
    elif kind == "entity":
        meant = chr(int(given))
    elif kind == "named":
        meant = _NAMED[given]
    elif kind == "escaped":
        meant = "" if given in "nrtbf" else given
    else:
        meant = given if kind == "doubled" else ""
    return meant.lower() if meant.isprintable() else ""


def _extended(text: str, at: int, form: str, place: int, size: int) -> tuple[int, int]:
    """The longest common piece of both around these `size` characters: (first, behind) in the text."""
    first, behind = at, at + size
    left, right = place, place + size
    while first and left and text[first - 1] == form[left - 1]:
        first, left = first - 1, left - 1
    while behind < len(text) and right < len(form) and text[behind] == form[right]:
        behind, right = behind + 1, right + 1
    return first, behind


def _inside_word(text: str, first: int, behind: int) -> bool:
    before = text[first - 1] if first else " "
    after = text[behind] if behind < len(text) else " "
    return before.isalnum() or after.isalnum()


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    at = 0
    for first, behind in spans:
        if first > at or not pieces:
            pieces += (text[at:first], MARK)
        at = max(at, behind)
    return "".join([*pieces, text[at:]])
