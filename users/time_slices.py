"""Shorter time slices for a process that must run soon after it wakes.

Linux lets a thread that wakes run before one whose time slice is longer: from kernel 6.12 on each thread may request a
slice of its own, which needs no privilege and takes no processor time from others (`sched_setattr`, see sched(7) and
Documentation/scheduler/sched-eevdf.rst). Older kernels accept the request and ignore it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

#: The shortest that the kernel grants.
SLICE_NS = 100_000
#: Numbers of the system call, by machine: the C library has no function for it before glibc 2.41.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
#: size, policy, flags, nice, priority, runtime, deadline and period, as linux/sched/types.h has them.
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")


def use_short_time_slices() -> bool:
    """Request them for the calling thread; its policy and niceness stay. Returns whether the system accepted."""
    number = _SCHED_SETATTR.get(platform.machine())
    try:
        if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
            return False
        niceness = os.getpriority(os.PRIO_PROCESS, 0)
        attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, niceness, 0, SLICE_NS, 0, 0)
        return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
    except (AttributeError, OSError):  # another system, or one that does not allow it
        return False
