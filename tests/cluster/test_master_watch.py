"""A forked worker that is not connected ends with its parent."""

from __future__ import annotations

import os
import signal

import pytest

from tokenswarm.cluster import master_watch
from tokenswarm.cluster.master_watch import end_with_parent


@pytest.mark.parametrize(
    ("is_parent_there", "is_connected", "is_ended"),
    [(True, False, False), (False, False, True), (False, True, False)],
    ids=["parent there", "parent gone", "connected before"],
)
def test_a_worker_that_cannot_connect_ends_with_the_process_that_forked_it(
    is_parent_there: bool, is_connected: bool, is_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[int, int]] = []
    looks = iter([is_connected, True, True])
    monkeypatch.setattr(master_watch, "_PARENT", os.getppid() + (not is_parent_there))
    monkeypatch.setattr(master_watch, "_LOOK_S", 0)
    monkeypatch.setattr(os, "kill", lambda *of: ended.append(of))
    end_with_parent(lambda: next(looks))
    assert ended == [(os.getpid(), signal.SIGKILL)] * is_ended
