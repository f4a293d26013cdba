"""Small files of JSON, one line each: read bounded and strictly, anything odd is None."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regproxy.storage.refusals import storage_failed

MAX_RECORD_BYTES = 64 * 1024
_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
"""No file, a symbolic link, a socket."""


def open_regular(path: Path) -> tuple[int, os.stat_result] | None:
    """A descriptor and what fstat says of it; None unless ``path`` itself is a regular file.

    StorageFailed where the system cannot say, as when descriptors run out: that is no miss.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_SUCH_FILE:
            return None
        raise storage_failed(error) from None
    try:
        found = os.fstat(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise storage_failed(error) from None
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        return None
    return descriptor, found


def read_record(path: Path, max_bytes: int = MAX_RECORD_BYTES) -> bytes | None:
    """The whole of a small regular file; None when it is missing, another thing, or larger.

    StorageFailed as :func:`open_regular`; bytes that the disk cannot read any more are None.
    """
    return read_marked(path, max_bytes)[0]


def read_marked(path: Path, max_bytes: int = MAX_RECORD_BYTES) -> tuple[bytes | None, os.stat_result | None]:
    """As :func:`read_record`, and what fstat says of the file; None: there is none, or it cannot be read."""
    opened = open_regular(path)
    if opened is None:
        return None, None
    descriptor, found = opened
    try:
        if found.st_size > max_bytes:
            return None, found
        content = os.pread(descriptor, max_bytes + 1, 0)
        return content if len(content) <= max_bytes else None, found
    except OSError:
        return None, None
    finally:
        os.close(descriptor)


def parse_record(content: bytes | None) -> Mapping[str, Any] | None:
    """The JSON object in a record; None when it is anything else."""
    if content is None:
        return None
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def format_record(document: Mapping[str, Any]) -> bytes:
    """One line of JSON."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def whole(value: object) -> int | None:
    """A number of bytes or nanoseconds: a whole one, not negative, below 2**63."""
    return value if type(value) is int and 0 <= value < 2**63 else None


def seconds(value: object) -> float | None:
    """Seconds since the epoch: not negative, within the next three thousand years."""
    if type(value) not in (int, float):
        return None
    try:
        time = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return time if 0 <= time < 1e11 else None
