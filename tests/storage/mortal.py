"""An ``os`` module under ``durable`` that counts the steps that change the disk, and fails at one."""

from __future__ import annotations

import os
from typing import Any

STEPS = {
    "mkdir",
    "rename",
    "unlink",
    "pwrite",
    "fsync",
    "fdatasync",
    "ftruncate",
    "utime",
    "fchmod",
    "posix_fallocate",
}


class Killed(BaseException):
    """The process is gone: no clean-up of ours runs after it."""


class MortalOs:
    """Step ``at`` raises ``error`` (``late``: after it was done); ``final``: so does each one after it."""

    def __init__(
        self, at: int, error: type[BaseException] | OSError, late: bool = False, final: bool = True
    ) -> None:
        self.at = at
        self.error = error
        self.late = late
        self.final = final
        self.steps: list[tuple[str, Any]] = []

    @property
    def reached(self) -> bool:
        return len(self.steps) >= self.at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in STEPS and name != "open":
            return real

        def step(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)
            return self._step(name, real, args, kwargs)

        return step

    def _step(self, name: str, real: Any, args: Any, kwargs: Any) -> Any:
        dead = self.final and self.reached
        synced = name in ("fsync", "fdatasync")
        self.steps.append((name, (os.readlink(f"/proc/self/fd/{args[0]}"),) if synced else args))
        if dead or len(self.steps) == self.at:
            if self.late and not dead:
                self._half(name, real, args, kwargs)
            raise self.error
        return real(*args, **kwargs)

    def _half(self, name: str, real: Any, args: Any, kwargs: Any) -> None:
        if name == "pwrite":
            args = (args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
        result = real(*args, **kwargs)
        if name == "open":
            os.close(result)
