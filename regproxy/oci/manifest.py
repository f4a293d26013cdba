"""Manifests: bounded bytes in, the type and the descriptors they name out.

Bytes are passed on verbatim and never re-encoded; what is parsed here only gives sizes and
types, never a permission (R41).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs

from regproxy.errors import InvalidDigest, InvalidManifest
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.documents import BadDocument, read_document

MAX_MANIFEST_BYTES = 4 * 1048 * 1048
"""What containerd takes at most, its 1048 included; a larger one is of no use to any client (R18)."""

MAX_OPENINGS = 20_000
MAX_PARTS = 150_000
"""Arrays and objects; these with quotes and commas. The worst within takes 20 to 50 ms to parse (150,000
fractions; 4 MiB of long whole numbers, or of escapes; 1 ms for arrays), where 4 MiB of ``[],`` without a
bound took 700 ms."""

_MAX_DESCRIPTORS = 10_000


@attrs.frozen(slots=True)
class Descriptor:
    """What names some content: its digest, its size, its media type."""

    digest: Digest
    size_bytes: int
    media_type: str


@attrs.frozen(slots=True)
class Manifest:
    """A manifest or index as its registry sent it: exact bytes, type without parameters, digest."""

    content: bytes = attrs.field(repr=False)
    media_type: str
    digest: Digest

    @classmethod
    def receive(cls, content: bytes, content_type: str | None, digest: Digest | None = None) -> Manifest:
        """What an upstream sent, judged before anybody else sees it.

        ``digest`` is the one asked for, or None where a tag was asked for. Raises
        :exc:`InvalidManifest` for bytes that are no manifest, whose declared types contradict
        each other (R19, type confusion), or that another digest names (R13).
        """
        if len(content) > MAX_MANIFEST_BYTES:
            raise InvalidManifest(f"the manifest is larger than {MAX_MANIFEST_BYTES} bytes")
        if digest is not None and not digest.matches(content):
            raise InvalidManifest("the bytes do not match the digest they were asked for by")
        return cls(content, judge_type(content, content_type), digest or Digest.of(content))

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor that names this manifest."""
        return Descriptor(self.digest, len(self.content), self.media_type)

    def names(self) -> list[Descriptor]:
        """Children, config and layers, those with a digest we can store; [] when unreadable."""
        return self._named(("manifests", "layers", "blobs", "config"))

    def layers(self) -> list[Descriptor]:
        """As :meth:`names`, what whoever runs the image needs beside its config."""
        return self._named(("layers",))

    def _named(self, keys: Sequence[str]) -> list[Descriptor]:
        try:
            listed = islice(_listed(_parse(self.content), keys), _MAX_DESCRIPTORS)
            return [found for entry in listed for found in _descriptor(entry)]
        except InvalidManifest:
            return []


def children_of(index: Manifest) -> list[tuple[Digest, tuple[object, object, object]]]:
    """What an index lists, each with os, architecture and variant as it says; :exc:`InvalidManifest`."""
    found = []
    for entry in islice(_listed(_parse(index.content), ("manifests",)), _MAX_DESCRIPTORS):
        for descriptor in _descriptor(entry):
            said = entry.get("platform") if isinstance(entry, dict) else None
            words = said if isinstance(said, dict) else {}
            found.append(
                (descriptor.digest, (words.get("os"), words.get("architecture"), words.get("variant")))
            )
    return found


def judge_type(content: bytes, content_type: str | None) -> str:
    """The manifest's media type: as sent when that is one, else by its field, else by its shape (R19)."""
    document = _parse(content)
    declared = document.get("mediaType")
    if declared is not None and not isinstance(declared, str):
        raise InvalidManifest("the manifest's mediaType is not a string")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise InvalidManifest("the manifest claims to be an index and an image at once")
    sent = types.essence(content_type or "")
    if sent in types.MANIFEST_TYPES:
        if declared in types.MANIFEST_TYPES and declared != sent:
            raise InvalidManifest("the manifest's mediaType is not the Content-Type it was sent with")
        _check_shape(document, sent)
        return sent
    if declared in types.MANIFEST_TYPES:
        _check_shape(document, declared)
        return declared
    return _by_shape(document)


def _check_shape(document: Mapping[str, Any], media_type: str) -> None:
    if media_type in types.INDEX_TYPES and "layers" in document:
        raise InvalidManifest("an image manifest was sent as an index")
    if media_type in (types.OCI_MANIFEST, types.DOCKER_MANIFEST) and "manifests" in document:
        raise InvalidManifest("an index was sent as an image manifest")


def _by_shape(document: Mapping[str, Any]) -> str:
    if document.get("schemaVersion") == 1:
        return types.DOCKER_SCHEMA1_SIGNED if "signatures" in document else types.DOCKER_SCHEMA1
    if isinstance(document.get("manifests"), list):
        return types.OCI_INDEX
    if isinstance(document.get("layers"), list) or isinstance(document.get("config"), dict):
        return types.OCI_MANIFEST
    raise InvalidManifest("the answer is JSON, but no manifest of a known kind")


def _parse(content: bytes) -> Mapping[str, Any]:
    try:
        document = read_document(content, MAX_OPENINGS, MAX_PARTS)
    except BadDocument as bad:
        raise InvalidManifest(f"the answer is no manifest: {bad}") from None
    if not isinstance(document, dict):
        raise InvalidManifest("the answer is JSON, but no object, so it is no manifest")
    return document


def _listed(document: Mapping[str, Any], keys: Sequence[str]) -> Iterator[object]:
    """What stands where descriptors belong, alone or in lists."""
    for key in keys:
        found = document.get(key)
        if isinstance(found, list):
            yield from found
        elif found is not None:
            yield found


def _descriptor(entry: object) -> Iterator[Descriptor]:
    if not isinstance(entry, dict):
        return
    digest, size, media_type = entry.get("digest"), entry.get("size"), entry.get("mediaType")
    if not isinstance(digest, str) or type(size) is not int or size < 0:
        return
    try:
        yield Descriptor(Digest.parse(digest), size, media_type if isinstance(media_type, str) else "")
    except InvalidDigest:
        return
