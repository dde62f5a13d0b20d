"""Shorter time slices, as the kernel reports them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.fork_server import ROOT

_SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
_SCRIPT = """
import ctypes, os, struct, sys
wanted = os.nice(3)
from tokenswarm.users.time_slices import use_short_time_slices
done = use_short_time_slices()
found = ctypes.create_string_buffer(48)
ctypes.CDLL(None).syscall(int(sys.argv[1]), 0, found, 48, 0)
size, policy, flags, nice, priority, runtime, *rest = struct.unpack("=IIQiIQQQ", found.raw)
print(done, policy, [nice, os.getpriority(os.PRIO_PROCESS, 0)] == [wanted] * 2, runtime)
"""


@pytest.mark.skipif(platform.machine() not in _SCHED_GETATTR, reason="the system call's number is not known here")
def test_a_process_gets_shorter_slices_and_keeps_policy_and_niceness() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(_SCHED_GETATTR[platform.machine()])],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    accepted, policy, keeps_niceness, runtime_ns = done.stdout.split()
    assert (accepted, policy, keeps_niceness) == ("True", "0", "True")
    if tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 12):
        assert runtime_ns == "100000"
