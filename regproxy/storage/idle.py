"""A thread that gives way to all others, on the CPU and at the disk."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading

NICE = 19
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
"""The system call's number; the C library has no function for it."""
_WHO_PROCESS, _CLASS_IDLE, _CLASS_SHIFT = 1, 3, 13


def give_way() -> bool:
    """From now on this thread, and no other, has the lowest priority: whether the disk knows it too.

    Nothing depends on it: where the system does not let us, the pace alone keeps it out of the way.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    number = _IOPRIO_SET.get(platform.machine())
    if number is None or platform.system() != "Linux":
        return False
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.syscall(number, _WHO_PROCESS, 0, _CLASS_IDLE << _CLASS_SHIFT) == 0)
    except (OSError, AttributeError):
        return False
