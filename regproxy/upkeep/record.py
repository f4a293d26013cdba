"""How far the passes are, in a small file: a restart goes on where they were.

The file is read as if anybody had written it: what is not as it should be counts as nothing, so that a pass
begins anew, and blobs are hashed once more than they need be.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from regproxy.errors import InvalidDigest
from regproxy.oci.digest import Digest

FILE_NAME = "upkeep.json"
MAX_FILE_BYTES = 64 * 1024
MAX_BAD = 50
MAX_TIME_S = 1e11
REASONS = ("wrong", "unreadable", "size")
_HEX = re.compile(r"[0-9a-f]{0,128}", re.ASCII)
_MODE = 0o640


@attrs.frozen(slots=True)
class Pass:
    """One pass over all blobs. ``cursor``: the digits of the last blob that was looked at."""

    began_s: float
    cursor: str = ""
    blobs: int = 0
    bytes: int = 0
    bad: int = 0


@attrs.frozen(slots=True)
class Ended:
    """A pass that came to its end. ``full``: somebody asked for it."""

    began_s: float
    ended_s: float
    blobs: int
    bytes: int
    bad: int
    full: bool = False


@attrs.frozen(slots=True)
class Bad:
    """A blob that was found ``wrong`` or ``unreadable``, or of another ``size``, and was set aside."""

    digest: Digest
    found_s: float
    why: str


@attrs.frozen(slots=True)
class Record:
    """``surveyed_s``: when a survey last saw everything. ``usual`` is the pass that time asks for, ``full``
    the one that somebody asked for. ``bad`` are the last ones, newest last."""

    surveyed_s: float | None = None
    usual: Pass | None = None
    full: Pass | None = None
    last: Ended | None = None
    bad: tuple[Bad, ...] = ()

    def with_bad(self, bad: Bad) -> Record:
        """One more."""
        return attrs.evolve(self, bad=(*self.bad, bad)[-MAX_BAD:])


def encode(record: Record) -> bytes:
    """One line of JSON."""
    document = {
        "version": 1,
        "surveyed": record.surveyed_s,
        "usual": None if record.usual is None else attrs.asdict(record.usual),
        "full": None if record.full is None else attrs.asdict(record.full),
        "last": None if record.last is None else attrs.asdict(record.last),
        "bad": [{"digest": str(b.digest), "found_s": b.found_s, "why": b.why} for b in record.bad],
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def decode(content: bytes) -> Record | None:
    """None for what is no record; parts that are not as they should be are left out."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("version") != 1:
        return None
    bad = found.get("bad")
    return Record(
        _time(found.get("surveyed")),
        _pass(found.get("usual")),
        _pass(found.get("full")),
        _ended(found.get("last")),
        tuple(filter(None, map(_bad, bad[-MAX_BAD:]))) if isinstance(bad, list) else (),
    )


def _time(value: object) -> float | None:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        return None
    return float(value) if 0 <= value < MAX_TIME_S else None  # type: ignore[operator, arg-type]


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _pass(value: object) -> Pass | None:
    if not isinstance(value, dict):
        return None
    began_s, cursor, counts = _time(value.get("began_s")), value.get("cursor"), _counts(value)
    if began_s is None or counts is None or not isinstance(cursor, str) or _HEX.fullmatch(cursor) is None:
        return None
    return Pass(began_s, cursor, *counts)


def _ended(value: object) -> Ended | None:
    if not isinstance(value, dict):
        return None
    began_s, ended_s, counts = _time(value.get("began_s")), _time(value.get("ended_s")), _counts(value)
    if began_s is None or ended_s is None or counts is None:
        return None
    return Ended(began_s, ended_s, *counts, full=value.get("full") is True)


def _counts(value: Mapping[str, Any]) -> tuple[int, int, int] | None:
    blobs, size, bad = (_count(value.get(name)) for name in ("blobs", "bytes", "bad"))
    return None if blobs is None or size is None or bad is None else (blobs, size, bad)


def _bad(value: object) -> Bad | None:
    if not isinstance(value, dict):
        return None
    text, found_s, why = value.get("digest"), _time(value.get("found_s")), value.get("why")
    if not isinstance(text, str) or found_s is None or why not in REASONS:
        return None
    try:
        return Bad(Digest.parse(text), found_s, why)
    except InvalidDigest:
        return None


class RecordFile:
    """``<root>/upkeep.json``. Blocks; OSError."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._temporary = folder / f".{FILE_NAME}.tmp"

    def read(self, ours: bool = False) -> Record | None:
        """What it says; an empty record where there is none, None where it cannot be understood.

        ``ours``: nobody else has the folder, and nothing was written yet: what a kill left of a change goes.
        """
        if ours:
            with suppress(OSError):
                self._temporary.unlink()
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return Record()
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            content = os.pread(descriptor, MAX_FILE_BYTES + 1, 0)
        finally:
            os.close(descriptor)
        return decode(content) if len(content) <= MAX_FILE_BYTES else None

    def write(self, record: Record) -> None:
        """Replace it, durably."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(self._temporary, flags, _MODE), "wb") as file:
            file.write(encode(record))
            file.flush()
            os.fsync(file.fileno())
        os.replace(self._temporary, self.path)
