"""A tar file of strangers, read where it lies: its headers once, then the bytes of a member by their offset.

Nothing is unpacked, so no name of a member ever becomes a path: what is asked for is looked up. Links,
devices and folders are no files here. Plain tar only, as ustar, pax and GNU tar write it, bounded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from regproxy.moving.tree import Opened, open_file

BLOCK = 512
MAX_MEMBERS = 1_000_000
MAX_EXTRA_BYTES = 64 * 1024
"""Of what a header says about the next one: long names, times."""
MAX_NAME_BYTES = 256
"""Longer names are nobody's here."""
_REGULAR = (b"0", b"\0", b"7")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class BadTar(Exception):
    """No tar that is read here; the message is a clause about "it"."""


@attrs.frozen(slots=True)
class Member:
    """Where the bytes of a member lie."""

    offset: int
    size_bytes: int


@attrs.frozen(slots=True)
class _Header:
    name: bytes
    kind: bytes
    size_bytes: int


class Tar:
    """The members of an open tar file, by name; of two with one name the last one. BadTar, OSError."""

    def __init__(self, file: Opened) -> None:
        self._file = file
        self.members: Mapping[tuple[str, ...], Member] = _scan(file)

    @classmethod
    def at(cls, path: Path) -> Tar:
        """The tar at ``path``; FileNotFoundError where there is no regular file."""
        file = open_file(path)
        if file is None:
            raise FileNotFoundError(f"{path} is no file")
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    def open(self, *parts: str) -> Opened | None:
        """As :meth:`Place.open`."""
        member = self.members.get(parts)
        if member is None:
            return None
        own = os.dup(self._file.descriptor)
        return Opened(own, member.offset, member.size_bytes, self._file.mtime_s, whole=False)

    def close(self) -> None:
        """Let go of the file; idempotent."""
        self._file.close()


def _scan(file: Opened) -> dict[tuple[str, ...], Member]:
    _check_plain(file)
    found: dict[tuple[str, ...], Member] = {}
    offset, said = 0, _Said()
    for _ in range(MAX_MEMBERS):
        block = file.read(offset, BLOCK)
        if not block or block == bytes(BLOCK):  # some writers leave the end away
            return found
        header, start = _header(block), offset + BLOCK
        if header.kind in (b"x", b"L"):
            said.read(header.kind, _extra(file, header, start))
            offset = _after(file, start, header.size_bytes)
            continue
        size_bytes = header.size_bytes if said.size_bytes is None else said.size_bytes
        if header.kind in _REGULAR:
            if said.sparse:
                raise BadTar("it has sparse members: write it without --sparse")
            name = _parts(header.name if said.name is None else said.name)
            if name is not None:
                found[name] = Member(start, size_bytes)
        elif header.kind == b"S":
            raise BadTar("it has sparse members: write it without --sparse")
        offset, said = _after(file, start, size_bytes), _Said()
    raise BadTar(f"it has more than {MAX_MEMBERS} members")


def _check_plain(file: Opened) -> None:
    start = file.read(0, 6)
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise BadTar(f"it is compressed ({name}): unpack that first, layers are compressed already")
    if len(start) < 6:
        raise BadTar("it is no tar")


class _Said:
    """What one header says about the next."""

    def __init__(self) -> None:
        self.name: bytes | None = None
        self.size_bytes: int | None = None
        self.sparse = False

    def read(self, kind: bytes, content: bytes) -> None:
        """A GNU long name, or the records of pax."""
        if kind == b"L":
            self.name = content.rstrip(b"\0")
            return
        while content:
            length, record = _pax_record(content)
            key, _, value = record.partition(b"=")
            if key == b"path":
                self.name = value
            elif key == b"size":
                self.size_bytes = _decimal(value)
            elif key.startswith(b"GNU.sparse."):
                self.sparse = True
            content = content[length:]


def _pax_record(content: bytes) -> tuple[int, bytes]:
    digits, space, _ = content[:8].partition(b" ")
    length = _decimal(digits) if space else 0
    if not len(digits) + 2 <= length <= len(content) or content[length - 1 : length] != b"\n":
        raise BadTar("it has a pax header that cannot be read")
    return length, content[len(digits) + 1 : length - 1]


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise BadTar("it has a pax header that cannot be read")
    return int(text)


def _extra(file: Opened, header: _Header, start: int) -> bytes:
    if header.size_bytes > MAX_EXTRA_BYTES:
        raise BadTar("it has a header that is larger than any name")
    return file.read(start, header.size_bytes)


def _after(file: Opened, start: int, size_bytes: int) -> int:
    """Where the next header is. A member that the file has not whole: it was cut."""
    if start + size_bytes > file.size_bytes:
        raise BadTar("it ends in the middle of a member: it was not copied whole")
    return start + -(-size_bytes // BLOCK) * BLOCK


def _header(block: bytes) -> _Header:
    if len(block) < BLOCK or _number(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * 32:
        raise BadTar("it is no tar, or a damaged one: a header is not as its checksum says")
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _Header(prefix + b"/" + name if prefix else name, block[156:157], _number(block[124:136]))


def _number(field: bytes) -> int:
    """Octal digits, or, as GNU writes large ones, base 256."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not all(0x30 <= digit <= 0x37 for digit in digits):
        raise BadTar("it is no tar, or a damaged one: a header has a number that is none")
    return int(digits or b"0", 8)


def _parts(name: bytes) -> tuple[str, ...] | None:
    """The name as it is asked for; None for one that nobody can ask for."""
    if len(name) > MAX_NAME_BYTES or not name.isascii():
        return None
    return tuple(part for part in name.decode("ascii").split("/") if part not in ("", "."))
