"""Layers: deterministic gzip tar archives, small ones of given files, large ones of a given size."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping

import attrs

from regproxy.oci.digest import Digest

MIN_SIZED_LAYER_BYTES = 2048
_BLOCK = 65_535
_GZIP_EXTRA = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
_TAR_FRAME = 512 + 1024


@attrs.frozen(slots=True)
class Layer:
    """One layer: the blob as a registry holds it, and the digest of the archive inside (diff_id)."""

    content: bytes = attrs.field(repr=False)
    diff_id: Digest


def file_layer(files: Mapping[str, bytes]) -> Layer:
    """A layer that holds ``files``, path to content; the same bytes every time."""
    archive = _tar(files)
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as packed:
        packed.write(archive)
    return Layer(buffer.getvalue(), Digest.of(archive))


def sized_layer(size_bytes: int, seed: int = 0) -> Layer:
    """A layer whose blob has exactly ``size_bytes``, of random bytes that ``seed`` decides.

    ValueError below MIN_SIZED_LAYER_BYTES: a gzip of a tar is not smaller.
    """
    if size_bytes < MIN_SIZED_LAYER_BYTES:
        raise ValueError(f"a layer of a given size has at least {MIN_SIZED_LAYER_BYTES} bytes")
    room = size_bytes - len(_GZIP_EXTRA) - 2 - 8
    blocks = -(-room // (_BLOCK + 5))
    file_bytes = (room - 5 * blocks - _TAR_FRAME) // 512 * 512
    archive = _tar({f"data-{seed}": random.Random(seed).randbytes(file_bytes)})
    stored = b"".join(_stored(archive))
    padding = room - len(stored)
    trailer = struct.pack("<II", zlib.crc32(archive), len(archive) & 0xFFFFFFFF)
    content = b"".join((_GZIP_EXTRA, struct.pack("<H", padding), bytes(padding), stored, trailer))
    return Layer(content, Digest.of(archive))


def _stored(archive: bytes) -> Iterator[bytes]:
    """The archive as uncompressed deflate blocks: quick, and of a length known beforehand."""
    for start in range(0, len(archive), _BLOCK):
        piece = archive[start : start + _BLOCK]
        last = start + _BLOCK >= len(archive)
        yield struct.pack("<BHH", int(last), len(piece), len(piece) ^ 0xFFFF)
        yield piece


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    for path in sorted(files):
        member = tarfile.TarInfo(path)
        member.size = len(files[path])
        member.mode = 0o755
        buffer.write(member.tobuf(tarfile.USTAR_FORMAT))
        buffer.write(files[path])
        buffer.write(bytes(-member.size % 512))
    buffer.write(bytes(1024))
    return buffer.getvalue()
