"""OCI image layouts, read: ``oci-layout``, ``index.json``, ``blobs/<alg>/<hex>``, in a folder or a tar.

From what its index names down to the layers, each manifest verified by its digest on the way. An index may
lack children: a layout of some platforms is one too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from regproxy.errors import InvalidManifest, RegproxyError
from regproxy.moving.naming import Naming
from regproxy.moving.shipment import Holding, NotTaken, Remarks, Shipment
from regproxy.moving.tree import Place, read_small
from regproxy.oci.digest import Digest
from regproxy.oci.documents import BadDocument, read_document
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from regproxy.oci.media_type import INDEX_TYPES, MANIFEST_TYPES
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

MARK, INDEX = "oci-layout", "index.json"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
MAX_INDEX_BYTES = 4 * 1024 * 1024
MAX_IMAGES = 10_000
MAX_MANIFESTS = 200_000
MAX_DEPTH = 8
DOCKER_ARCHIVE = (
    "it is a docker-archive, as 'docker save' wrote it before Docker 25, without a registry's digests: pull"
    " the images anew, or make a layout of it: skopeo copy docker-archive:FILE oci:FOLDER:NAME"
)


def is_layout(place: Place) -> bool:
    """Whether it says so."""
    return read_small(place, MAX_INDEX_BYTES, MARK) is not None


def is_docker_archive(place: Place) -> bool:
    """Whether it is the older form of docker save."""
    return not is_layout(place) and read_small(place, MAX_INDEX_BYTES, "manifest.json") is not None


def blob_path(digest: Digest) -> tuple[str, ...]:
    """Where the bytes lie."""
    return ("blobs", digest.algorithm, digest.hex)


def read_layout(place: Place, naming: Naming) -> Shipment:
    """All that its index names. NotTaken, OSError; InvalidName where --as gives several images one tag."""
    mark = _document(place, MARK)
    if not str(mark.get("imageLayoutVersion", "")).startswith("1."):
        raise NotTaken("it is an image layout of a version that is not known here: 1.0.0 is")
    opened = place.open(INDEX)
    if opened is None:
        raise NotTaken("it has no index.json: it was not written to its end")
    opened.close()
    entries = tuple(_entries(_document(place, INDEX)))
    naming.check_apart([(entry.name, entry.digest) for entry in entries])
    reading = _Reading(place)
    for entry, repository, reference in _meant(entries, naming, reading.remarks):
        holding = reading.found.setdefault(repository, Holding())
        if reading.image(holding, entry) and isinstance(reference, Tag):
            if holding.tags.get(reference, (entry.digest, 0.0))[0] != entry.digest:
                reading.remarks.add(f"{entry.shown}: it names several images; the last one has the tag")
            holding.tags[reference] = (entry.digest, opened.mtime_s)
    found = {repository: holding for repository, holding in reading.found.items() if holding}
    return Shipment(place, blob_path, found, reading.remarks)


def _meant(
    entries: Sequence[_Entry], naming: Naming, remarks: Remarks
) -> list[tuple[_Entry, Repository, Reference | None]]:
    """What each is here. NotTaken where none of them can be anything."""
    meant = []
    for entry in entries:
        try:
            meant.append((entry, *naming.of_image(entry.name)))
        except RegproxyError as error:
            remarks.add(f"{entry.shown}: {error.message}")
    if entries and not meant:
        more = f" (none of its {len(entries)} images is taken in)" if len(entries) > 1 else ""
        raise NotTaken(f"{remarks.first[0]}{more}")
    return meant


@attrs.frozen(slots=True)
class _Entry:
    digest: Digest
    media_type: str | None
    name: str | None

    @property
    def shown(self) -> str:
        """For the operator."""
        name = self.name or str(self.digest)
        return "".join(sign if " " <= sign <= "~" else "?" for sign in name[:100])


class _Reading:
    """What was found so far."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._count = 0
        self.found: dict[Repository, Holding] = {}
        self.remarks = Remarks()

    def image(self, holding: Holding, entry: _Entry) -> bool:
        """Take in the image of an entry; False: there is none, and a remark says why."""
        try:
            manifest = self._manifest(entry.digest, entry.media_type)
        except InvalidManifest as error:
            self.remarks.add(f"{entry.shown}: {error.message}")
            return False
        if manifest is None:
            self.remarks.add(f"{entry.shown}: the layout names it and has not got it")
            return False
        self._take(holding, manifest, MAX_DEPTH)
        return True

    def _take(self, holding: Holding, manifest: Manifest, depth: int) -> None:
        self._count += 1
        if self._count > MAX_MANIFESTS:
            raise NotTaken("it names more manifests than anybody has")
        holding.manifests[manifest.digest] = manifest.media_type
        for named in manifest.names():
            child = manifest.media_type in INDEX_TYPES and named.media_type in MANIFEST_TYPES
            if not child:
                holding.blobs.add(named.digest)
            elif named.digest in holding.manifests:
                continue
            elif not depth:
                self.remarks.add(f"{named.digest}: it is left out, below {MAX_DEPTH} nested indices")
            else:
                self._child(holding, named.digest, named.media_type, depth - 1)

    def _child(self, holding: Holding, digest: Digest, media_type: str, depth: int) -> None:
        try:
            manifest = self._manifest(digest, media_type)
        except InvalidManifest as error:
            self.remarks.add(f"{digest}: {error.message}")
            return
        if manifest is not None:
            self._take(holding, manifest, depth)

    def _manifest(self, digest: Digest, media_type: str | None) -> Manifest | None:
        content = read_small(self._place, MAX_MANIFEST_BYTES, *blob_path(digest))
        return None if content is None else Manifest.receive(content, media_type, digest)


def _document(place: Place, name: str) -> Mapping[str, Any]:
    content = read_small(place, MAX_INDEX_BYTES, name)
    try:
        found = read_document(content or b"", 4 * MAX_IMAGES, 40 * MAX_IMAGES)
    except BadDocument as bad:
        raise NotTaken(f"its {name} cannot be read: {bad}") from None
    if not isinstance(found, dict):
        raise NotTaken(f"its {name} cannot be read: it is no object")
    return found


def _entries(index: Mapping[str, Any]) -> Iterator[_Entry]:
    listed = index.get("manifests")
    if not isinstance(listed, list) or len(listed) > MAX_IMAGES:
        raise NotTaken(f"its index.json lists no images, or more than {MAX_IMAGES}")
    for entry in listed:
        try:
            yield _entry(entry if isinstance(entry, dict) else {})
        except RegproxyError as error:
            raise NotTaken(f"its index.json names something that is none: {error.message}") from None


def _entry(entry: Mapping[str, Any]) -> _Entry:
    media_type, noted = entry.get("mediaType"), entry.get("annotations")
    names = noted if isinstance(noted, dict) else {}
    full, name = names.get(IMAGE_NAME), names.get(REF_NAME)
    best = full if isinstance(full, str) and "/" in full else name
    return _Entry(
        Digest.parse(str(entry.get("digest"))),
        media_type if isinstance(media_type, str) else None,
        best if isinstance(best, str) and best else None,
    )
