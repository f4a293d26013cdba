"""What a repository holds, for an operator who wants it away, and the way it goes.

Laws: what there is is found in a thread of its own, never between a client and its bytes; what is
removed goes the way that everything expires, one job of the writer thread for each thing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Set
from pathlib import Path

from twisted.internet.defer import Deferred
from zope.interface import implementer

from regproxy.errors import InvalidDigest
from regproxy.interfaces import Inventory, IPurges, Kind, Taken
from regproxy.oci.digest import HEX_LENGTH, Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.storage.keeping import Keeper
from regproxy.storage.layout import Layout
from regproxy.storage.records import read_record
from regproxy.storage.tags import MAX_TAG_BYTES, decode_tag, tag_names
from regproxy.storage.thread import DiskThread


@implementer(IPurges)
class Purges:
    """``own`` is the thread that surveys run in, ``writer`` the one that changes the disk."""

    def __init__(self, layout: Layout, keeper: Keeper, own: DiskThread, writer: DiskThread) -> None:
        self._layout = layout
        self._keeper = keeper
        self._own = own
        self._writer = writer

    def decide(
        self, repository: Repository, depth: bool, decide: Callable[[Inventory], list[Reference]]
    ) -> Deferred[list[Reference]]:
        """As :meth:`IPurges.decide`."""
        return self._own.run(lambda: decide(take_inventory(self._layout, repository, depth)))

    def foresee(
        self, repository: Repository, reference: Reference, before: Set[Repository] = frozenset()
    ) -> Deferred[Taken | None]:
        """As :meth:`IPurges.foresee`."""
        return self._writer.run(self._keeper.foresee, repository, reference, before)

    def purge(self, repository: Repository, reference: Reference) -> Deferred[Taken | None]:
        """As :meth:`IPurges.purge`."""
        return self._writer.run(self._keeper.purge, repository, reference)


def take_inventory(layout: Layout, repository: Repository, depth: bool) -> Inventory:
    """Everything by its name in the folder, whatever the records say. OSError, StorageFailed. Blocks."""
    manifests = _linked(layout, repository, Kind.MANIFEST)
    return Inventory(
        dict(_tags(layout.tags(repository))),
        {digest: _named(layout, digest) if depth else frozenset() for digest in manifests},
        frozenset(_linked(layout, repository, Kind.BLOB)),
    )


def _tags(folder: Path) -> Iterator[tuple[Tag, Digest | None]]:
    for name in tag_names(folder):
        record = decode_tag(read_record(folder / name, MAX_TAG_BYTES))
        yield Tag.parse(name), None if record is None else record.descriptor.digest


def _linked(layout: Layout, repository: Repository, kind: Kind) -> list[Digest]:
    found = []
    for algorithm in HEX_LENGTH:
        try:
            names = os.listdir(layout.links(repository, kind, algorithm))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            try:
                found.append(Digest.parse(f"{algorithm}:{name}"))
            except InvalidDigest:
                continue
    return found


def _named(layout: Layout, digest: Digest) -> frozenset[Digest]:
    """What a manifest on disk names; nothing where it is missing or no manifest."""
    content = read_record(layout.blob(digest), MAX_MANIFEST_BYTES)
    if content is None:
        return frozenset()
    return frozenset(named.digest for named in Manifest(content, "", digest).names())
