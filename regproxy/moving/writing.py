"""An OCI image layout, written: the same images give the same bytes, as a folder or as a tar.

Laws: ``index.json`` comes last into a folder, and a tar gets its name last, so that what was ended in the
middle is no layout. What cannot be finished is removed again. Nothing that was there is written over.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import attrs

from regproxy.moving.layout import IMAGE_NAME, INDEX, MARK, REF_NAME, blob_path
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.media_type import OCI_INDEX

Bytes = Callable[[Digest, int], Iterator[bytes]]
"""What gives the verified bytes of a digest of that size."""


class CannotWrite(Exception):
    """Nothing was written there; the message is a sentence for the operator."""


class Taken(CannotWrite):
    """Something is there already."""


@attrs.frozen
class Named:
    """An image by its whole name, ``docker.io/library/nginx:1.29``."""

    name: str
    descriptor: Descriptor


def index_of(images: Sequence[Named]) -> bytes:
    """``index.json``."""
    listed = [_entry(image) for image in sorted(images, key=lambda image: image.name)]
    return _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed})


def _entry(image: Named) -> dict[str, object]:
    return {
        "mediaType": image.descriptor.media_type,
        "digest": str(image.descriptor.digest),
        "size": image.descriptor.size_bytes,
        "annotations": {IMAGE_NAME: image.name, REF_NAME: image.name},
    }


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


MARK_CONTENT = _json({"imageLayoutVersion": "1.0.0"})


def write(target: Path, images: Sequence[Named], contents: Mapping[Digest, int], give: Bytes) -> None:
    """All of it to ``target``: a tar if it is called so, else a folder, which must be new or empty.

    CannotWrite; what ``give`` raises.
    """
    check_free(target)
    try:
        with _tar(target) if is_tar(target) else _folder(target) as layout:
            _fill(layout, images, contents, give)
    except FileExistsError:
        raise Taken(_there(target)) from None
    except OSError as error:
        raise CannotWrite(f"{target} cannot be written: {error.strerror or error}") from None


def check_free(target: Path) -> None:
    """Taken where something lies there. CannotWrite."""
    try:
        taken = os.path.lexists(target) and (is_tar(target) or not _is_empty(target))
        ended = taken and (target / MARK).exists() and not (target / INDEX).exists()
    except OSError as error:
        raise CannotWrite(f"{target} cannot be looked into: {error.strerror}") from None
    if ended:
        raise Taken(f"{target} is there already, of an export that was killed in its middle: remove it first")
    if taken:
        raise Taken(_there(target))


def _there(target: Path) -> str:
    return f"{target} is there already: nothing is written over"


def is_tar(target: Path) -> bool:
    """Whether the name says so."""
    return target.name.endswith(".tar")


def _is_empty(target: Path) -> bool:
    return target.is_dir() and not any(target.iterdir())


class _Layout(Protocol):
    def small(self, name: str, content: bytes) -> None: ...

    def blob(self, digest: Digest, size_bytes: int, chunks: Iterator[bytes]) -> None: ...


def _fill(layout: _Layout, images: Sequence[Named], contents: Mapping[Digest, int], give: Bytes) -> None:
    layout.small(MARK, MARK_CONTENT)
    for digest in sorted(contents):
        with contextlib.closing(give(digest, contents[digest])) as chunks:  # type: ignore[type-var]
            layout.blob(digest, contents[digest], chunks)
    layout.small(INDEX, index_of(images))


@contextlib.contextmanager
def _folder(target: Path) -> Iterator[_Layout]:
    layout = _Folder(target)
    try:
        yield layout
    except BaseException:
        layout.remove()
        raise


class _Folder:
    """Remembers what it made."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._made: list[Path] = []
        self._folders: list[Path] = []
        self._make(target)

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir()
            self._folders.append(folder)

    def small(self, name: str, content: bytes) -> None:
        self._write(self._target / name, iter([content]))

    def blob(self, digest: Digest, size_bytes: int, chunks: Iterator[bytes]) -> None:
        path = self._target
        *folders, name = blob_path(digest)
        for folder in folders:
            path = path / folder
            self._make(path)
        self._write(path / name, chunks)

    def _write(self, path: Path, chunks: Iterator[bytes]) -> None:
        with path.open("xb") as file:
            self._made.append(path)  # another's stays
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    def remove(self) -> None:
        """As far as it goes."""
        for path in self._made:
            with contextlib.suppress(OSError):
                path.unlink()
        for folder in reversed(self._folders):
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def _tar(target: Path) -> Iterator[_Layout]:
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                yield _TarFile(tar)
            file.flush()
            os.fsync(file.fileno())
        if os.path.lexists(target):  # it came meanwhile; not every disk has links, which would refuse it too
            raise FileExistsError(target)
        partial.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


class _TarFile:
    """Members without time and owner, in an order that is always the same."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._folders: set[str] = set()

    def small(self, name: str, content: bytes) -> None:
        self._add(name, len(content), io.BytesIO(content))

    def blob(self, digest: Digest, size_bytes: int, chunks: Iterator[bytes]) -> None:
        parts = blob_path(digest)
        for depth in range(1, len(parts)):
            self._folder("/".join(parts[:depth]))
        reader = _Reader(chunks)
        self._add("/".join(parts), size_bytes, reader)
        reader.finish()

    def _folder(self, name: str) -> None:
        if name not in self._folders:
            self._folders.add(name)
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            self._tar.addfile(member)

    def _add(self, name: str, size_bytes: int, content: io.BytesIO | _Reader) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = size_bytes, 0o644
        self._tar.addfile(member, content)


class _Reader:
    """Chunks as a file that is read to its end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; fewer at the end only."""
        parts, wanted = [], size
        while wanted > 0:
            if not self._left:
                self._left = next(self._chunks, b"")
                if not self._left:
                    break
            part, self._left = self._left[:wanted], self._left[wanted:]
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def finish(self) -> None:
        """Let the source see its end, where it judges what it gave."""
        for _ in self._chunks:
            pass
