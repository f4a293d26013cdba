"""What manifests name, and how much an image lacks where only some of that is at hand. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest

MAX_DEPTH = 3
"""An index in an index, and that in another one."""
MAX_READ_BYTES = 256 * 1024
"""A larger manifest is not read for this: it counts as not whole."""


@attrs.frozen(slots=True)
class Parts:
    """What one manifest names. ``whole`` False: that is not all of it."""

    children: tuple[Digest, ...] = ()
    blobs: tuple[Digest, ...] = ()
    whole: bool = True

    def __len__(self) -> int:
        return 1 + len(self.children) + len(self.blobs)


def parts_of(manifest: Manifest) -> Parts:
    """By its bytes; a layer that clients get elsewhere is none of ours."""
    if len(manifest.content) > MAX_READ_BYTES:
        return Parts(whole=False)
    named = manifest.names()
    if manifest.media_type in types.INDEX_TYPES:
        return Parts(children=_each_once(named))
    return Parts(blobs=_each_once(each for each in named if not _is_foreign(each)))


def _each_once(named: Iterator[Descriptor] | Sequence[Descriptor]) -> tuple[Digest, ...]:
    return tuple(dict.fromkeys(each.digest for each in named))


def _is_foreign(layer: Descriptor) -> bool:
    return "foreign" in layer.media_type or "nondistributable" in layer.media_type


def missing(top: Digest, parts: Callable[[Digest], Parts | None], held: Callable[[Digest], bool]) -> int:
    """How many things the image of ``top`` lacks, each counted once. Pure.

    ``parts`` None: that manifest is not cached. An index without a cached child lacks all of them.
    """
    lacks: set[Digest] = set()
    seen, level = {top}, [top]
    for _ in range(MAX_DEPTH):
        below: dict[Digest, None] = {}
        for digest in level:
            found = parts(digest) or Parts(whole=False)
            lacks.update(blob for blob in found.blobs if not held(blob))
            cached = [child for child in found.children if parts(child) is not None]
            below.update(dict.fromkeys(child for child in cached if child not in seen))
            if not found.whole:
                lacks.add(digest)
            if not cached:
                lacks.update(found.children)
        seen.update(below)
        level = list(below)
    return len(lacks.union(level))
