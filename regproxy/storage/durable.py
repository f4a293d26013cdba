"""Everything that changes the disk, in steps that a power cut cannot tear.

Laws: a name appears only by rename, after its bytes were fsynced; the folder is fsynced after it.
No other module of this room creates, writes, renames or removes. All of it is called in the disk
thread (or before the daemon serves) and raises OSError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from pathlib import Path

FOLDER_MODE = 0o750
FILE_MODE = 0o640
BLOB_MODE = 0o440

PROCESS = secrets.token_hex(8)
"""In the name of each temporary file of this process: what has another one is left from a kill."""

_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
_CLONE = 0x40049409
"""FICLONE of Linux, which Python has no name for before 3.13."""
_CANNOT_CLONE = (*_NOT_SUPPORTED, errno.EXDEV, errno.ENOTTY, errno.EPERM)
_TRIES = 3


def make_folders(path: Path) -> None:
    """Make ``path`` and what is missing above it, each name durable."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, FOLDER_MODE)
        sync_folder(folder.parent)


def create(path: Path, mode: int = FILE_MODE) -> int:
    """A descriptor of a new file, its folder made again if somebody removed it."""
    for _ in range(_TRIES):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        except FileNotFoundError:
            make_folders(path.parent)
    raise FileNotFoundError(errno.ENOENT, "its folder is removed as often as it is made")


def open_again(path: Path) -> int:
    """A descriptor of a file of ours, to go on writing it."""
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)


def write_all(descriptor: int, content: bytes, offset: int) -> None:
    """Write the whole of ``content`` at ``offset``, however short the single writes are."""
    left = memoryview(content)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def write_atomic(path: Path, content: bytes, mode: int = FILE_MODE, mtime_ns: int | None = None) -> None:
    """Put ``content`` under ``path``, durably: the old content or the new, never a part."""
    _replace(path, content, mode, mtime_ns, durably=True)


def write_soon(path: Path, content: bytes) -> None:
    """The same for who can do without it: a kill leaves the old or the new, a power cut perhaps neither."""
    _replace(path, content, FILE_MODE, None, durably=False)


def _replace(path: Path, content: bytes, mode: int, mtime_ns: int | None, durably: bool) -> None:
    temporary = path.parent / f".{PROCESS}-{secrets.token_hex(8)}.tmp"
    descriptor = create(temporary, mode)
    try:
        try:
            write_all(descriptor, content, 0)
            set_mtime(descriptor, mtime_ns)
            if durably:
                sync_file(descriptor)
        finally:
            os.close(descriptor)
        if durably:
            rename(temporary, path)
        else:
            move(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def try_write(folder: Path, size_bytes: int) -> None:
    """Whether ``folder`` takes a file of that size; it is removed again. OSError when not."""
    path = folder / f".{PROCESS}-{secrets.token_hex(8)}.tmp"
    descriptor = create(path)
    try:
        write_all(descriptor, bytes(size_bytes), 0)
        sync_file(descriptor)
    finally:
        os.close(descriptor)
        os.unlink(path)


def rename(source: Path, target: Path) -> None:
    """Give a file its name, durably."""
    move(source, target)
    sync_folder(target.parent)


def move(source: Path, target: Path) -> None:
    """Give a file its name, durable after sync_folder(); a folder that somebody removed is made again."""
    for _ in range(_TRIES):
        try:
            os.rename(source, target)
            return
        except FileNotFoundError:
            if not source.exists():
                raise
            make_folders(target.parent)
    raise FileNotFoundError(errno.ENOENT, "its folder is removed as often as it is made")


def remove(path: Path) -> bool:
    """Unlink a file, durably; False when there was none."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    sync_folder(path.parent)
    return True


def remove_empty(folder: Path, top: Path) -> None:
    """Remove ``folder`` and those above it, below ``top``, as far as they are empty; no harm otherwise."""
    while folder != top and top in folder.parents:
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = folder.parent


def move_aside(path: Path, target: Path) -> None:
    """Rename ``path``, whatever it is, to ``target``, or to a name beside it where that is taken."""
    make_folders(target.parent)
    mode = os.lstat(path).st_mode
    if not stat.S_ISREG(mode) or target.is_dir():
        target = target.with_name(f"{target.name}-{secrets.token_hex(4)}")
    os.rename(path, target)
    sync_folder(target.parent)
    sync_folder(path.parent)


def allocate(descriptor: int, size_bytes: int) -> None:
    """Reserve ``size_bytes`` of disk. ENOSPC where they would not fit.

    More than half of what is free is not reserved, nor is it where the file system cannot: an upstream
    that promises much and sends little must not take the disk from the others.
    """
    before = os.fstat(descriptor).st_size
    if size_bytes <= before:
        return
    room = os.fstatvfs(descriptor)
    free_bytes = room.f_bavail * room.f_frsize
    if free_bytes < size_bytes - before:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if free_bytes < 2 * (size_bytes - before):
        os.ftruncate(descriptor, size_bytes)
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            os.ftruncate(descriptor, before)
            raise
        os.ftruncate(descriptor, size_bytes)


def clone(descriptor: int, source: int) -> bool:
    """Make the file share the bytes of ``source``, each keeping its own from then on; False: it cannot.

    One file system that can (XFS, Btrfs) has to hold both. Takes no time, and no space until one changes.
    """
    try:
        fcntl.ioctl(descriptor, _CLONE, source)
    except OSError as error:
        if error.errno in _CANNOT_CLONE:
            return False
        raise
    return True


def truncate(descriptor: int, size_bytes: int) -> None:
    """Cut the file to ``size_bytes``."""
    os.ftruncate(descriptor, size_bytes)


def cut(path: Path, size_bytes: int) -> None:
    """The same for a file that nobody has open."""
    descriptor = open_again(path)
    try:
        os.ftruncate(descriptor, size_bytes)
    finally:
        os.close(descriptor)


def set_mtime(descriptor: int, mtime_ns: int | None) -> None:
    """Set the modification time by which a file is trusted: the one its links know, if any does.

    Zero is no such time, since links to unverified bytes say it.
    """
    if mtime_ns:
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
    elif os.fstat(descriptor).st_mtime_ns == 0:
        os.utime(descriptor)


def set_mode(descriptor: int, mode: int) -> None:
    """Set the permission bits."""
    os.fchmod(descriptor, mode)


def sync_file(descriptor: int) -> None:
    """fsync: bytes and times."""
    os.fsync(descriptor)


def sync_data(descriptor: int) -> None:
    """fdatasync: bytes only, so that the last fsync has little left to do."""
    os.fdatasync(descriptor)


def sync_folder(path: Path) -> None:
    """fsync of a folder: the names in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
