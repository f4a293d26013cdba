"""What the store tells of what comes and goes, and what lies on the disk."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from regproxy.interfaces import Held, IHoldings, TagRecord
from regproxy.oci.manifest import Descriptor
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference
from regproxy.storage.store import DiskStore
from tests.storage.conftest import DIGEST, Folder


@implementer(IHoldings)
class Watcher:
    """Keeps the account that a scheduler keeps."""

    def __init__(self) -> None:
        self.held: dict[tuple[Repository, Reference], Held] = {}
        self.told: list[str] = []

    def added(self, held: Held) -> None:
        self.held[held.repository, held.reference] = held
        self.told.append("added")

    def gone(self, repository: Repository, reference: Reference) -> None:
        self.held.pop((repository, reference), None)
        self.told.append("gone")

    def found(self, held: Sequence[Held]) -> None:
        for one in held:
            self.held.setdefault((one.repository, one.reference), one)
        self.told.append("found")

    def surveyed(self) -> None:
        self.told.append("surveyed")


def due() -> bool:
    return True


def record() -> TagRecord:
    return TagRecord(Descriptor(DIGEST, 1, "a/b"), None, 1.0)


def on_disk(folder: Folder) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in (folder.root / "blobs").rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def occupied(store: DiskStore) -> tuple[int, int]:
    return store.occupied.blobs, store.occupied.blob_bytes
