"""The secret that a master and its workers may share, and the seals made with it. Pure, except for reading the secret.

Each message then carries an HMAC-SHA256 of its direction, its number and its contents, under a key of this one worker's
session with this one master. A session's key comes from the secret, the worker's name, and a random number of each
side. A message is accepted once, and only in the order of sending. Without the secret, nobody can send a message that a
master or a worker acts on, not even one that was recorded earlier. Contents are not encrypted.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tokenswarm.sanitize import hide

KEY_VARIABLE = "TOKENSWARM_CLUSTER_KEY"
#: A shorter secret could be guessed from one recorded message.
_SHORTEST_CHARACTERS = 16
_LONGEST_CHARACTERS = 4096
_NONCE_BYTES = 16
_TO_MASTER, _TO_WORKER = b"to the master", b"to the worker"
_Form = TypeVar("_Form", bound=msgspec.Struct)


class ClusterKeyError(ValueError):
    """The secret cannot be used; the text says why and what to do, and never holds the secret."""


class BadSeal(ValueError):
    """A message does not come from the sender that it names, or was accepted before; the text says which."""


class _Hello(msgspec.Struct, array_like=True):
    nonce: bytes
    mac: bytes


class _SealedContents(msgspec.Struct, array_like=True):
    nonce: bytes
    number: int
    mac: bytes
    contents: bytes


class ClusterKey:
    """The secret. repr() and str() do not show it."""

    def __init__(self, secret: str) -> None:
        """Raises ClusterKeyError."""
        if not _SHORTEST_CHARACTERS <= len(secret) <= _LONGEST_CHARACTERS:
            raise ClusterKeyError(
                f"the cluster key must have {_SHORTEST_CHARACTERS} to {_LONGEST_CHARACTERS:,} characters, got "
                f"{len(secret)}; make one with: openssl rand -hex 32"
            )
        self._secret = secret.encode("utf-8", "surrogateescape")

    @classmethod
    def find(cls, environ: Mapping[str, str], file: str) -> ClusterKey | None:
        """The secret of --cluster-key-file or of the environment, None if neither is given. Raises ClusterKeyError."""
        variable = environ.get(KEY_VARIABLE, "").strip()
        if file and variable:
            raise ClusterKeyError(f"both --cluster-key-file and {KEY_VARIABLE} are given; give one of them")
        if file:
            secret = _read(Path(file))
            hide(secret)
            return cls(secret)
        return cls(variable) if variable else None

    def mac(self, label: bytes, *parts: bytes) -> bytes:
        """32 bytes that only a holder of the secret can compute from these parts."""
        return _mac(self._secret, label, *parts)

    def session(self, node: str, worker_nonce: bytes, master_nonce: bytes) -> bytes:
        """The key of one worker's session with one master."""
        return self.mac(b"session", node.encode(), worker_nonce, master_nonce)

    def __repr__(self) -> str:
        return "ClusterKey(...)"


class _Channel:
    """One end of a session: it numbers and seals what it sends, and opens what it receives."""

    def __init__(self, key: bytes, nonce: bytes, sends: bytes, receives: bytes) -> None:
        self.nonce = nonce
        self._key, self._sends, self._receives = key, sends, receives
        self._sent = self._received = 0

    def seal(self, contents: bytes) -> list[Any]:
        self._sent += 1
        return [self.nonce, self._sent, _mac(self._key, self._sends, _number(self._sent), contents), contents]

    def open(self, sealed: _SealedContents) -> bytes:
        """Raises BadSeal."""
        expected = _mac(self._key, self._receives, _number(sealed.number), sealed.contents)
        if not hmac.compare_digest(expected, sealed.mac):
            raise BadSeal("not sealed with this cluster key in this session")
        if sealed.number <= self._received:
            raise BadSeal("a message that was received before")
        self._received = sealed.number
        return sealed.contents


class WorkerSession:
    """The worker's end of its session, which is established once the master's welcome was opened."""

    def __init__(self, key: ClusterKey, node: str) -> None:
        """node: the worker's name in Locust."""
        self._key, self._node = key, node
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._channel: _Channel | None = None

    @property
    def established(self) -> bool:
        """Whether messages can be sealed."""
        return self._channel is not None

    def hello(self) -> list[bytes]:
        """The first message to send. It may be sent repeatedly."""
        return [self._nonce, self._key.mac(b"hello", self._node.encode(), self._nonce)]

    def open_welcome(self, data: Any) -> None:
        """The master's answer to hello. Raises BadSeal."""
        welcome = _convert(data, _Hello)
        expected = self._key.mac(b"welcome", self._node.encode(), self._nonce, welcome.nonce)
        if not hmac.compare_digest(expected, welcome.mac):
            raise BadSeal("a welcome that was not made with this cluster key for this worker")
        if self._channel is None:  # a repeated welcome changes nothing
            key = self._key.session(self._node, self._nonce, welcome.nonce)
            self._channel = _Channel(key, self._nonce, _TO_MASTER, _TO_WORKER)

    def seal(self, contents: bytes) -> list[Any]:
        """The contents with their seal, once the session is established."""
        assert self._channel is not None
        return self._channel.seal(contents)

    def open(self, data: Any) -> bytes:
        """The contents. Raises BadSeal."""
        if self._channel is None:
            raise BadSeal("sealed before the session was established")
        return self._channel.open(_convert(data, _SealedContents))


class MasterSessions:
    """The master's ends of all sessions, by the worker's name."""

    def __init__(self, key: ClusterKey) -> None:
        self._key = key
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._channels: dict[str, _Channel] = {}

    def welcome(self, node: str, data: Any) -> list[bytes]:
        """The answer to a worker's hello. No state is kept: the hello may be a recorded one. Raises BadSeal."""
        hello = _convert(data, _Hello)
        if not hmac.compare_digest(self._key.mac(b"hello", node.encode(), hello.nonce), hello.mac):
            raise BadSeal("it has another cluster key than this master; give it the same on that worker's machine")
        return [self._nonce, self._key.mac(b"welcome", node.encode(), hello.nonce, self._nonce)]

    def open(self, node: str, data: Any) -> bytes:
        """The contents of a worker's message; the first one establishes the session. Raises BadSeal."""
        sealed = _convert(data, _SealedContents)
        if (channel := self._channels.get(node)) is not None:
            if channel.nonce != sealed.nonce:
                raise BadSeal("a message of another session than this worker's")
            return channel.open(sealed)
        key = self._key.session(node, sealed.nonce, self._nonce)
        channel = _Channel(key, sealed.nonce, _TO_WORKER, _TO_MASTER)
        contents = channel.open(sealed)
        self._channels[node] = channel
        return contents

    def knows(self, node: str) -> bool:
        """Whether this worker has a session."""
        return node in self._channels

    def seal(self, node: str, contents: bytes) -> list[Any]:
        """The contents with their seal, for a worker with a session."""
        return self._channels[node].seal(contents)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            secret = file.read(_LONGEST_CHARACTERS + 2)  # a device may have no end
        return secret.decode().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ClusterKeyError(f"the cluster key cannot be read from --cluster-key-file {path}: {reason}") from None


def _convert(data: Any, form: type[_Form]) -> _Form:
    try:
        return msgspec.convert(data, form)
    except msgspec.ValidationError:
        raise BadSeal("not in the form of a sealed message") from None


def _number(number: int) -> bytes:
    if not 0 <= number < 2**64:
        raise BadSeal("not in the form of a sealed message")
    return number.to_bytes(8, "big")


def _mac(key: bytes, label: bytes, *parts: bytes) -> bytes:
    code = hmac.new(key, digestmod="sha256")
    for part in (b"tokenswarm", label, *parts):
        code.update(len(part).to_bytes(8, "big"))
        code.update(part)
    return code.digest()
