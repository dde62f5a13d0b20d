"""The sockets between master and workers, in place of Locust's: with bounds, and with seals if there is a cluster key.

Why Locust's do not do: see upstream/locust_internals.py, use_sockets.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import gevent
import zmq.green as zmq
from locust.exception import RPCError
from locust.rpc import Message, zmqrpc
from zmq.error import ZMQError

from tokenswarm.cluster.cluster_key import (
    KEY_VARIABLE,
    BadSeal,
    ClusterKey,
    ClusterKeyError,
    MasterSessions,
    WorkerSession,
)
from tokenswarm.cluster.dropped_messages import DroppedMessages
from tokenswarm.cluster.master_watch import end_with_parent
from tokenswarm.cluster.protocol import REJECTED
from tokenswarm.command_line.exit_codes import EXIT_UNUSABLE
from tokenswarm.upstream.locust_internals import use_sockets

logger = logging.getLogger(__name__)

HELLO, WELCOME, SEALED = "tokenswarm_hello", "tokenswarm_welcome", "tokenswarm_sealed"
#: Largest message that is accepted, in bytes; a larger one closes the sender's connection. A report has 1 MB at most,
#: unless a single one is larger.
_LARGEST_BYTES = 64 * 1024 * 1024
#: Most messages of a worker that wait until its session is established.
_MOST_PENDING = 100
#: Seconds before each of the lines in which a worker logs that it waits for its master. Locust's own begin after 30 s.
_WAITING_LOG_DELAYS_S = (0.5, 9.5, 10.0)
#: How long a worker waits for its master: a little less than Locust, which ends after 305 s with 255, and says not why.
_WAITS_S = 300.0
_NO_MASTER = (
    "no master answered at {} within 5 minutes: start the master, give this worker its address with --master-host and "
    "--master-port, and see that no firewall closes the port."
)
_NO_KEY = "it has no cluster key, its master has one; give it the same on that worker's machine"
_KEY_HERE_ALONE = "it has a cluster key, its master has none; give both the same, or none"


@dataclass
class SocketState:
    """The state of a worker's socket. main: the greenlet that is ended when the master rejects the worker; session:
    None without a cluster key; attached: whether the master's rejection is passed on; connected: whether a message of
    the master was received; user_counts: returns what each heartbeat carries besides; pending: messages that wait for
    the session."""

    main: Any
    session: WorkerSession | None
    attached: bool = False
    connected: bool = False
    rejected: bool = False
    user_counts: Callable[[], dict[str, int]] | None = None
    pending: deque[Any] = field(default_factory=lambda: deque(maxlen=_MOST_PENDING))
    dropped: DroppedMessages = field(default_factory=lambda: DroppedMessages(logger.error))


class WorkerSocket(zmqrpc.Client):
    """A worker's socket."""

    def __init__(self, state: SocketState, host: str, port: int, identity: str) -> None:
        self.state = state
        self._identity = identity
        super().__init__(host, port, identity)
        self._greet()

    def attach(self, user_counts: Callable[[], dict[str, int]]) -> None:
        """Pass rejections on from now on. user_counts: returns what each heartbeat carries besides."""
        self.state.attached, self.state.user_counts = True, user_counts

    def send(self, msg: Any) -> None:
        """Send a message to the master, sealed if there is a key."""
        state = self.state
        if msg.type == "heartbeat" and state.user_counts is not None:
            msg.data["user_classes_count"] = state.user_counts()
        if state.session is None:
            super().send(msg)
        elif state.session.established:
            super().send(_SealedMessage(msg, state.session.seal))
        else:
            state.pending.append(msg)
            self._greet()

    def recv(self) -> Any:
        """The master's next message. Raises RPCError."""
        while True:
            try:
                received = self.socket.recv()
            except ZMQError as error:
                raise RPCError("ZMQ network broken") from error
            if (message := self._read(received)) is not None:
                self.state.connected = True
                return message

    def _greet(self) -> None:
        session = self.state.session
        if session is not None and not session.established:
            super().send(_message(HELLO, session.hello(), self._identity))

    def _read(self, received: bytes) -> Any:
        """The message, None if it is not to be acted on."""
        state = self.state
        try:
            message = _unserialized(received)
            if message.type == REJECTED and self._may_be_rejected:
                return self._end(str(message.data["reason"])[:1000])
            if state.session is None:
                return message
            if message.type == WELCOME:
                state.session.open_welcome(message.data)
                while state.pending:
                    self.send(state.pending.popleft())
                return None
            if message.type != SEALED:
                raise BadSeal("it has no cluster key")
            return _unserialized(state.session.open(message.data))
        except BadSeal as error:
            state.dropped.drop("the master", str(error))
        except Exception as error:  # bytes from the network can be anything
            state.dropped.drop("the master", "a message that cannot be decoded", repr(error))
        return None

    @property
    def _may_be_rejected(self) -> bool:
        """Whether a rejection without a seal is accepted: a master without this key cannot seal one."""
        session = self.state.session
        return not self.state.attached if session is None else not session.established

    def _end(self, reason: str) -> None:
        if self.state.rejected:
            return  # the answer to another of its greetings
        self.state.rejected = True
        print(f"tokenswarm: the master rejects this worker: {reason}", file=sys.stderr)
        gevent.kill(self.state.main, SystemExit(EXIT_UNUSABLE))


class WorkerSockets:
    """Makes workers' sockets. A socket that replaces one with a broken connection continues its session."""

    def __init__(self, key: ClusterKey | None, log_waiting: bool = False) -> None:
        """log_waiting: whether a worker logs that it waits for its master, and ends where none comes."""
        self._key = key
        self._log_waiting = log_waiting
        self._states: dict[str, SocketState] = {}

    def __call__(self, host: str, port: int, identity: str) -> WorkerSocket:
        """Called by Locust in place of zmqrpc.Client."""
        if (state := self._states.get(identity)) is None:
            session = WorkerSession(self._key, identity) if self._key is not None else None
            state = self._states[identity] = SocketState(gevent.getcurrent(), session)
            gevent.spawn(end_with_parent, lambda: state.connected)
            if self._log_waiting:
                gevent.spawn(await_master, state, f"{host}:{port}")
        return WorkerSocket(state, host, port, identity)


class MasterSocket(zmqrpc.Server):
    """The master's socket. `dropped` counts the messages that cannot be decoded or have no valid seal."""

    def __init__(self, sessions: MasterSessions | None, host: str, port: int) -> None:
        self.dropped = DroppedMessages(logger.error)
        self._sessions = sessions
        # Like Locust's own __init__, but the largest size must be set before the socket is bound.
        zmqrpc.BaseSocket.__init__(self, zmq.ROUTER, self.ipv4_only(host, port))
        self.socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST_BYTES)
        try:
            if port:
                self.socket.bind(f"tcp://{host}:{port}")
            self.port = port or self.socket.bind_to_random_port(f"tcp://{host}")
        except ZMQError as error:
            raise RPCError(f"Socket bind failure: {error}") from error

    def recv_from_client(self) -> tuple[str, Any]:
        """(sender, message): the next message that can be decoded and, if there is a key, has a valid seal. Raises
        RPCError."""
        while True:
            try:
                frames = self.socket.recv_multipart()
            except ZMQError as error:
                raise RPCError("ZMQ network broken") from error
            name = frames[0].decode("utf-8", "backslashreplace")
            try:
                if len(frames) != 2:
                    raise ValueError(f"{len(frames)} frames")
                if (message := self._read(name, frames[1])) is not None:
                    return name, message
            except BadSeal as error:
                self.dropped.drop(name, str(error))
            except Exception as error:  # bytes from the network can be anything
                self.dropped.drop(name, "a message that cannot be decoded", repr(error))

    def send_to_client(self, msg: Any) -> None:
        """Send a message to a worker, sealed if there is a key; a worker without a session then gets none."""
        sessions = self._sessions
        if sessions is None:
            super().send_to_client(msg)
        elif sessions.knows(msg.node_id):
            super().send_to_client(_SealedMessage(msg, partial(sessions.seal, msg.node_id)))

    def _read(self, name: str, received: bytes) -> Any:
        message = _unserialized(received, name)
        if self._sessions is None:
            if message.type == HELLO:
                self._reject(name, _KEY_HERE_ALONE)
            return message if message.type not in (HELLO, SEALED) else None
        if message.type == HELLO:
            try:
                welcome = self._sessions.welcome(name, message.data)
            except BadSeal as error:
                return self._reject(name, str(error))
            super().send_to_client(_message(WELCOME, welcome, name))
            return None
        if message.type != SEALED:
            if message.type == "client_ready":
                self._reject(name, _NO_KEY)
            else:
                self.dropped.counts[_NO_KEY] += 1
            return None
        return _unserialized(self._sessions.open(name, message.data), name)

    def _reject(self, name: str, reason: str) -> None:
        self.dropped.drop(name, reason)
        super().send_to_client(_message(REJECTED, {"reason": reason}, name))


class _SealedMessage:
    """A message that is sealed at the moment it is sent, as seals are numbered."""

    def __init__(self, message: Any, seal: Callable[[bytes], Any]) -> None:
        self.type, self.node_id = message.type, message.node_id
        self._message, self._seal = message, seal

    def serialize(self) -> bytes:
        sealed = _message(SEALED, self._seal(self._message.serialize()), self.node_id)
        serialized: bytes = sealed.serialize()
        return serialized


@cache
def install(key_file: str, log_waiting: bool = False) -> None:
    """Have Locust use these sockets in this process and those that it forks; once, before it makes a runner. key_file:
    --cluster-key-file; log_waiting: whether workers log that they wait for their master, and end without. Raises
    ClusterKeyError."""
    if any(argument.partition("=")[0] == "--cluster-key" for argument in sys.argv):
        raise ClusterKeyError(
            f"a key on the command line is visible to every user of this machine: set {KEY_VARIABLE}, or name a file "
            "with --cluster-key-file"
        )
    key = ClusterKey.find(os.environ, key_file)
    use_sockets(WorkerSockets(key, log_waiting), partial(MasterSocket, MasterSessions(key) if key else None))


def await_master(state: SocketState, address: str, sleep: Callable[[float], object] = gevent.sleep) -> None:
    """Log where this worker waits for its master, until the master answers, and end its process where none does. Locust
    logs nothing for the first 30 s."""
    for delay_s in _WAITING_LOG_DELAYS_S:
        sleep(delay_s)
        if state.connected or state.rejected:
            return
        logger.info("Waiting for a master at %s (--master-host, --master-port)", address)
    sleep(_WAITS_S - sum(_WAITING_LOG_DELAYS_S))
    if not (state.connected or state.rejected):
        print(f"tokenswarm: {_NO_MASTER.format(address)}", file=sys.stderr)
        gevent.kill(state.main, SystemExit(EXIT_UNUSABLE))


def _unserialized(received: bytes, name: str | None = None) -> Any:
    """The decoded message. name: whom it has to name as its sender, None for any. Raises whatever msgpack raises."""
    message: Any = Message.unserialize(received)
    if not isinstance(message.type, str):
        raise ValueError("its type is not a string")
    if name is not None and message.node_id != name:
        raise ValueError("it names another sender")
    return message


def _message(kind: str, data: Any, name: str) -> Any:
    make: Any = Message  # it is not typed
    return make(kind, data, name)
