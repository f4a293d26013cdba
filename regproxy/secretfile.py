"""A secret in a file of its own: used only where no other user can read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from regproxy.errors import SecretUnusable

MIN_LENGTH = 32
MAX_BYTES = 4096


def read_secret(path: Path) -> bytes:
    """The first line of the file, as it is now. :exc:`SecretUnusable` says what is wrong with it.

    It must be a regular file that its owner alone writes and that nobody reads but owner and group;
    the line has at least MIN_LENGTH signs of printable ASCII, without blanks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_file(path, os.fstat(descriptor))
            content = os.pread(descriptor, MAX_BYTES + 1, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SecretUnusable(f"{path}: {error.strerror}") from None
    return _first_line(path, content)


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretUnusable(f"{path}: it is not a regular file")
    if found.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        mode = stat.S_IMODE(found.st_mode)
        raise SecretUnusable(f"{path}: its mode {mode:03o} is open to others: chmod 640, or 600")


def _first_line(path: Path, content: bytes) -> bytes:
    if len(content) > MAX_BYTES:
        raise SecretUnusable(f"{path}: it is larger than {MAX_BYTES} bytes")
    secret = content.partition(b"\n")[0].strip()
    if not secret:
        raise SecretUnusable(f"{path}: it is empty; openssl rand -hex 32 makes a token")
    if len(secret) < MIN_LENGTH:
        raise SecretUnusable(
            f"{path}: it has less than {MIN_LENGTH} signs; openssl rand -hex 32 makes a token"
        )
    if not all(0x21 <= sign <= 0x7E for sign in secret):
        raise SecretUnusable(f"{path}: its first line has blanks, or signs that are no printable ASCII")
    return secret
