"""What of an image is here whole, by the right of its repository. Pure, over what is asked of the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import attrs

from regproxy.errors import InvalidManifest
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.documents import BadDocument, read_document
from regproxy.oci.manifest import MAX_OPENINGS, MAX_PARTS, Descriptor, Manifest

MAX_DEPTH = 8
MAX_CONTENTS = 200_000
_ELSEWHERE = (".foreign.", ".nondistributable.")
"""In the media types of layers that clients fetch from elsewhere: no registry need have them (P53)."""


class IncompleteImage(Exception):
    """It is not here whole; the message is a clause that says what is missing."""


class Held(Protocol):
    """What one repository holds."""

    def manifest(self, digest: Digest) -> Manifest | None:
        """A manifest that it holds, verified; None where it does not. InvalidManifest."""

    def size_bytes(self, digest: Digest) -> int | None:
        """The size of a blob that it holds; None where it does not."""


@attrs.frozen
class Whole:
    """An image: what names it, all its ``contents`` with their sizes, itself too, and what of an index is not
    here, in words."""

    descriptor: Descriptor
    contents: Mapping[Digest, int]
    missing: tuple[str, ...] = ()


def whole(held: Held, digest: Digest) -> Whole:
    """The image ``digest``, of an index what is complete. IncompleteImage."""
    return _Gathering(held).image(digest, MAX_DEPTH)


class _Gathering:
    def __init__(self, held: Held) -> None:
        self._held = held
        self._looked = 0

    def image(self, digest: Digest, depth: int) -> Whole:
        self._looked += 1
        if depth == 0 or self._looked > MAX_CONTENTS:
            raise IncompleteImage("indices within indices, without end")
        try:
            manifest = self._held.manifest(digest)
        except InvalidManifest:
            raise IncompleteImage(f"the bytes of its manifest {digest} are damaged") from None
        if manifest is None:
            raise IncompleteImage(f"its manifest {digest} is not here")
        if manifest.media_type in (types.DOCKER_SCHEMA1, types.DOCKER_SCHEMA1_SIGNED):
            raise IncompleteImage("it is of Docker's schema 1, which no OCI layout can hold")
        if manifest.media_type in types.INDEX_TYPES:
            return self._index(manifest, depth)
        contents = {digest: len(manifest.content)}
        for named in manifest.names():
            self._blob(named, contents)
        return Whole(manifest.descriptor, contents)

    def _blob(self, named: Descriptor, contents: dict[Digest, int]) -> None:
        size = self._held.size_bytes(named.digest)
        if size is not None:
            contents[named.digest] = size
        elif not any(part in named.media_type for part in _ELSEWHERE):
            raise IncompleteImage(f"{named.digest} of it is not here")

    def _index(self, manifest: Manifest, depth: int) -> Whole:
        contents = {manifest.digest: len(manifest.content)}
        missing: list[str] = []
        found = 0
        platforms = _platforms(manifest.content)
        for named in manifest.names():
            name = platforms.get(str(named.digest), str(named.digest))
            try:
                if named.media_type in types.MANIFEST_TYPES:
                    child = self.image(named.digest, depth - 1)
                    contents.update(child.contents)
                    missing += [f"{name}: {each}" for each in child.missing]
                else:
                    self._blob(named, contents)
                found += 1
            except IncompleteImage:
                missing.append(name)
        if missing and not found:
            raise IncompleteImage(f"none of its platforms is here whole: {', '.join(missing[:8])}")
        return Whole(manifest.descriptor, contents, tuple(missing))


def _platforms(content: bytes) -> dict[str, str]:
    """What the children of an index are for, by digest."""
    try:
        document = read_document(content, MAX_OPENINGS, MAX_PARTS)
    except BadDocument:
        return {}
    listed = document.get("manifests") if isinstance(document, dict) else None
    return dict(_named(listed if isinstance(listed, list) else []))


def _named(listed: list[Any]) -> Iterator[tuple[str, str]]:
    for entry in listed:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if isinstance(platform, dict):
            parts = [platform.get(key) for key in ("os", "architecture", "variant")]
            text = "/".join(part for part in parts if isinstance(part, str) and part)
            yield str(entry.get("digest")), "".join(s if " " <= s <= "~" else "?" for s in text[:60])
