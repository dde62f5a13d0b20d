"""The cluster key: who holds it is believed, once, and nobody else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.cluster.cluster_key import BadSeal, ClusterKey, ClusterKeyError, MasterSessions, WorkerSession
from tokenswarm.sanitize import shown

SECRET = "correct horse battery staple"


class Pair:
    """A worker and its master, their session established."""

    def __init__(self, secret: str = SECRET, node: str = "worker") -> None:
        self.node = node
        self.worker = WorkerSession(ClusterKey(secret), node)
        self.master = MasterSessions(ClusterKey(SECRET))
        self.worker.open_welcome(self.master.welcome(node, self.worker.hello()))
        self.master.open(node, self.worker.seal(b"client_ready"))


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_sealed_messages_are_opened_on_the_other_side_both_ways(pair: Pair) -> None:
    for contents in (b"", b"one", b"x" * 100_000):
        assert pair.master.open("worker", pair.worker.seal(contents)) == contents
        assert pair.worker.open(pair.master.seal("worker", contents)) == contents


def test_a_message_is_accepted_once_and_in_order(pair: Pair) -> None:
    first, second = pair.worker.seal(b"1"), pair.worker.seal(b"2")
    assert pair.master.open("worker", second) == b"2"
    for again in (first, second):
        with pytest.raises(BadSeal, match="received before"):
            pair.master.open("worker", again)
    answer = pair.master.seal("worker", b"3")
    pair.worker.open(answer)
    with pytest.raises(BadSeal, match="received before"):
        pair.worker.open(answer)


@pytest.mark.parametrize("part", range(4))
def test_whatever_is_changed_on_the_way_is_noticed(pair: Pair, part: int) -> None:
    for sealed, opens in (
        (pair.worker.seal(b"contents"), lambda data: pair.master.open("worker", data)),
        (pair.master.seal("worker", b"contents"), pair.worker.open),
    ):
        if part == 0 and opens == pair.worker.open:
            continue  # a worker has one session: its number is not looked at
        changed: list[Any] = list(sealed)
        changed[part] = changed[part] + 1 if part == 1 else bytes([*changed[part][:-1], changed[part][-1] ^ 1])
        with pytest.raises(BadSeal):
            opens(changed)


def test_a_message_does_not_count_in_the_other_direction_nor_in_another_name(pair: Pair) -> None:
    sealed = pair.worker.seal(b"contents")
    with pytest.raises(BadSeal):
        pair.worker.open(sealed)
    with pytest.raises(BadSeal):
        pair.master.open("another", sealed)


def test_a_recorded_session_is_worth_nothing_to_another_master(pair: Pair) -> None:
    hello, messages = pair.worker.hello(), [pair.worker.seal(b"client_ready"), pair.worker.seal(b"stats")]
    restarted = MasterSessions(ClusterKey(SECRET))
    restarted.welcome("worker", hello)
    for message in messages:
        with pytest.raises(BadSeal):
            restarted.open("worker", message)
    assert not restarted.knows("worker")


def test_a_recorded_master_is_worth_nothing_to_another_worker(pair: Pair) -> None:
    welcome = pair.master.welcome("worker", pair.worker.hello())
    pair.master.open("worker", pair.worker.seal(b"client_ready"))
    spawn = pair.master.seal("worker", b"spawn")
    fresh = WorkerSession(ClusterKey(SECRET), "worker")
    with pytest.raises(BadSeal):
        fresh.open_welcome(welcome)
    with pytest.raises(BadSeal):
        fresh.open(spawn)
    assert not fresh.established


def test_a_repeated_hello_does_not_disturb_a_session(pair: Pair) -> None:
    pair.master.open("worker", pair.worker.seal(b"1"))
    other = WorkerSession(ClusterKey(SECRET), "worker")
    pair.worker.open_welcome(pair.master.welcome("worker", pair.worker.hello()))
    other.open_welcome(pair.master.welcome("worker", other.hello()))
    with pytest.raises(BadSeal, match="another session"):
        pair.master.open("worker", other.seal(b"in its name"))
    assert pair.master.open("worker", pair.worker.seal(b"2")) == b"2"


def test_a_recorded_session_is_worth_nothing_in_the_next_one_of_the_same_worker(pair: Pair) -> None:
    """Its name and its master's part are the same; its own part is not."""
    spawn = pair.master.seal("worker", b"spawn")
    again = WorkerSession(ClusterKey(SECRET), "worker")
    again.open_welcome(pair.master.welcome("worker", again.hello()))
    with pytest.raises(BadSeal, match="not sealed"):
        again.open(spawn)


def test_another_key_is_noticed_on_both_sides() -> None:
    worker, master = WorkerSession(ClusterKey("another secret, as long"), "worker"), MasterSessions(ClusterKey(SECRET))
    with pytest.raises(BadSeal, match="another cluster key"):
        master.welcome("worker", worker.hello())
    forger = MasterSessions(ClusterKey("another secret, as long"))
    honest = WorkerSession(ClusterKey(SECRET), "worker")
    with pytest.raises(BadSeal):
        forger.welcome("worker", honest.hello())
    with pytest.raises(BadSeal):
        honest.open_welcome([os.urandom(16), os.urandom(32)])


@pytest.mark.parametrize(
    "data", [None, 7, "text", [], [b"", b""], [b"x" * 16, -1, b"y" * 32, b"z"], [b"x", 2**70, b"", b""], {"a": 1}]
)
def test_what_is_no_sealed_message_is_refused(pair: Pair, data: Any) -> None:
    for opens in (
        lambda: pair.master.open("worker", data),
        lambda: pair.master.welcome("worker", data),
        lambda: pair.worker.open(data),
        lambda: pair.worker.open_welcome(data),
    ):
        with pytest.raises(BadSeal):
            opens()


def test_the_secret_comes_from_the_environment_or_a_file_and_from_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    assert ClusterKey.find({}, "") is None
    by_file, by_variable = ClusterKey.find({}, str(file)), ClusterKey.find({"TOKENSWARM_CLUSTER_KEY": SECRET}, "")
    assert by_file is not None
    assert by_variable is not None
    assert by_file.mac(b"x") == by_variable.mac(b"x")
    assert SECRET not in repr(by_file)
    assert shown(f"the key is {SECRET}") == "the key is [secret]"


@pytest.mark.parametrize("trouble", ["missing", "folder", "endless", "no text", "short", "both"])
def test_a_secret_that_cannot_be_used_is_refused_and_not_repeated(trouble: str, tmp_path: Path) -> None:
    file = {"missing": tmp_path / "none", "folder": tmp_path, "endless": Path("/dev/zero")}.get(
        trouble, tmp_path / "key"
    )
    if trouble in ("no text", "short", "both"):
        file.write_bytes({"no text": b"\xff" * 40, "short": b"hunter2", "both": SECRET.encode()}[trouble])
    with pytest.raises(ClusterKeyError) as refused:
        ClusterKey.find({"TOKENSWARM_CLUSTER_KEY": SECRET} if trouble == "both" else {}, str(file))
    assert "hunter2" not in str(refused.value)
    assert SECRET not in str(refused.value)
