"""A storage folder with many entries, as a mirror that ran for a long time has it, made in a minute."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import attrs

from regproxy.expiry.entries import Entry, key_of
from regproxy.expiry.lines import FOOTER, member, state_header
from regproxy.interfaces import Kind, Link, TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.media_type import BLOB_TYPE, OCI_MANIFEST
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.storage.fingerprints import write_fingerprint
from regproxy.storage.layout import Layout
from regproxy.storage.links import encode_link
from regproxy.storage.tags import encode_tag
from regproxy.storage.version import write_version

KEPT, DUE = "kept.bench", "due.bench"
"""The names of the upstreams: whose content stays, whose is to go at once."""
TTL_S, DUE_TTL_S = 7 * 86_400, 3000
HOLDERS = 2
"""In so many repositories each kept blob lies."""
IMAGE = 12
"""So many entries are an image: its tag, its manifest, the config and nine layers."""
_BEGUN_NS = 1_700_000_000 * 10**9
_STATE = "scheduler-state.json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


@attrs.frozen
class Crowd:
    """``entries`` in all, over ``repositories``; ``due`` of them are of the upstream whose content goes."""

    root: Path
    entries: int
    repositories: int
    due: int

    def make(self) -> None:
        """Write blobs, links and tags."""
        layout = Layout(self.root)
        self.root.mkdir(parents=True)
        write_version(layout)
        for upstream in (KEPT, DUE):
            write_fingerprint(layout.credential(upstream), b"")
        writer = _Writer(layout)
        for repository, number, what in self._all():
            writer.write(repository, number, what)

    def write_state(self, now_s: float, due_at_s: float, whole: bool = True) -> None:
        """The state that goes with it; what is due expires at ``due_at_s``, the rest in the days after."""
        for path in [*self.root.glob(".scheduler-state*"), *self.root.glob("scheduler-state*")]:
            path.unlink()
        with (self.root / _STATE).open("wb") as file:
            file.write(state_header(0, now_s))
            before = "\n"
            for line in self._lines(now_s, due_at_s):
                file.write((before + line).encode())
                before = ",\n"
            if whole:
                file.write(FOOTER)

    def some_blob(self) -> str:
        """The path of a blob that stays, for requests."""
        repository = self._repository(KEPT, 0)
        return f"/v2/{repository.path}/blobs/{digest_of(2)}?ns={KEPT}"

    def left_of_due(self) -> int:
        """How many records of what was due are still there."""
        return sum(1 for path in (self.root / "repositories" / DUE).rglob("*/*/*/*") if path.is_file())

    def disk_bytes(self) -> int:
        """What its blobs take on the disk now."""
        return sum(
            path.lstat().st_blocks * 512 for path in (self.root / "blobs").rglob("*") if path.is_file()
        )

    def some_image(self) -> str:
        """The name of an image that stays."""
        return f"{self._repository(KEPT, 0)}:v0"

    @property
    def images(self) -> int:
        """How many there are, those that two repositories hold twice."""
        each = (self.entries - self.due) // self.repositories
        return self.repositories * -(-each // IMAGE)

    def _lines(self, now_s: float, due_at_s: float) -> Iterator[str]:
        for count, (repository, number, what) in enumerate(self._all()):
            due = repository.upstream == DUE
            used_s = due_at_s - DUE_TTL_S if due else now_s - (count * 97) % (TTL_S - 86_400)
            kind = "tag" if what is None else what.value
            reference = Tag(f"v{number}") if what is None else digest_of(number, what)
            yield member(key_of(repository, reference), Entry(kind, used_s, 8, 1), used_s)

    def _all(self) -> Iterator[tuple[Repository, int, Kind | None]]:
        """Each entry: its repository, a number that names its content, what it is (None: a tag).

        An image is a tag, the manifest of the same number, and the blobs that follow; the last one of a
        repository may lack some.
        """
        each = (self.entries - self.due) // self.repositories
        for place in range(self.repositories):
            repository = self._repository(KEPT, place)
            first = place // HOLDERS * HOLDERS * each
            for number in range(first, first + each):
                if number % IMAGE == first % IMAGE:
                    yield repository, number, None
                elif number % IMAGE == (first + 1) % IMAGE:
                    yield repository, number - 1, Kind.MANIFEST
                else:
                    yield repository, number, Kind.BLOB
        for number in range(self.due):
            yield self._repository(DUE, number % 50), 10**9 + number, Kind.BLOB

    def _repository(self, upstream: str, place: int) -> Repository:
        return Repository.parse(upstream, f"team-{place % 23}/service-{place}")


class _Writer:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folders: set[Path] = set()

    def write(self, repository: Repository, number: int, kind: Kind | None) -> None:
        layout = self._layout
        if kind is None:
            content = content_of(number, Kind.MANIFEST)
            descriptor = Descriptor(digest_of(number, Kind.MANIFEST), len(content), OCI_MANIFEST)
            record = TagRecord(descriptor, None, _BEGUN_NS / 1e9)
            self._file(layout.tags(repository) / f"v{number}", encode_tag(record))
            return
        digest, content = digest_of(number, kind), content_of(number, kind)
        media_type = OCI_MANIFEST if kind is Kind.MANIFEST else BLOB_TYPE
        link = Link(len(content), _BEGUN_NS, media_type, _BEGUN_NS / 1e9, "fetch")
        self._file(layout.link(repository, digest, kind), encode_link(link))
        path = layout.blob(digest)
        if not path.exists():
            self._file(path, content)
            os.utime(path, ns=(_BEGUN_NS, _BEGUN_NS))

    def _file(self, path: Path, content: bytes) -> None:
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
        os.write(descriptor, content)
        os.close(descriptor)


def content_of(number: int, kind: Kind = Kind.BLOB) -> bytes:
    """The bytes of a blob, or of the manifest that names the blobs behind it."""
    if kind is Kind.BLOB:
        return b"%d" % number
    config, *layers = (_descriptor(number + place) for place in range(2, IMAGE))
    typed = {"mediaType": _CONFIG_TYPE, **config}
    named = [{"mediaType": _LAYER_TYPE, **layer} for layer in layers]
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": typed, "layers": named}
    return json.dumps(document).encode("ascii")


def _descriptor(number: int) -> dict[str, object]:
    return {"digest": str(digest_of(number)), "size": len(content_of(number))}


@lru_cache(4096)
def digest_of(number: int, kind: Kind = Kind.BLOB) -> Digest:
    """Their digest."""
    return Digest("sha256", sha256(content_of(number, kind)).hexdigest())
