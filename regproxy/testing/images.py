"""Images: real, small, the same bytes every time; single, multi-platform, and odd ones.

Everything that :func:`make_image` and :func:`make_index` build can be pulled by a real client.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.testing.layers import Layer, file_layer, sized_layer

EMPTY = b""
EMPTY_JSON = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
BUSYBOX = Path("/usr/bin/busybox")

_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@attrs.frozen(slots=True)
class Image:
    """A manifest or index with all that it names: own ``blobs``, and ``children`` with theirs."""

    content: bytes = attrs.field(repr=False)
    media_type: str
    digest: Digest
    blobs: Mapping[Digest, bytes] = attrs.field(factory=dict, repr=False)
    children: tuple[Image, ...] = attrs.field(default=(), repr=False)

    @property
    def manifest(self) -> Manifest:
        """The manifest as the rest of the program knows it."""
        return Manifest(self.content, self.media_type, self.digest)

    @property
    def descriptor(self) -> Descriptor:
        """What names it."""
        return self.manifest.descriptor

    def all_manifests(self) -> Iterator[Manifest]:
        """Every manifest, children before what names them: an order in which a registry takes them."""
        for child in self.children:
            yield from child.all_manifests()
        yield self.manifest

    def all_blobs(self) -> dict[Digest, bytes]:
        """Every blob, of the children too."""
        found: dict[Digest, bytes] = {}
        for child in self.children:
            found.update(child.all_blobs())
        found.update(self.blobs)
        return found

    @property
    def size_bytes(self) -> int:
        """All bytes of a complete pull, each content once."""
        manifests = {manifest.digest: len(manifest.content) for manifest in self.all_manifests()}
        return sum(manifests.values()) + sum(len(blob) for blob in self.all_blobs().values())


def make_image(
    *layers: Layer,
    docker: bool = False,
    algorithm: str = "sha256",
    architecture: str = "amd64",
    labels: Mapping[str, str] | None = None,
) -> Image:
    """An image of ``layers`` (none: one with a small text file); OCI, or docker v2 schema 2.

    ``algorithm`` names its blobs and itself; ``labels`` make otherwise equal images differ.
    """
    stack = layers or (file_layer({"hello.txt": b"hello from regproxy\n"}),)
    config = _dump(
        {
            "architecture": architecture,
            "config": {"Cmd": ["/bin/sh"], "Labels": dict(labels or {})},
            "created": "2026-01-01T00:00:00Z",
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "regproxy"} for _ in stack],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in stack]},
        }
    )
    layer_type = _DOCKER_LAYER if docker else _OCI_LAYER
    document = {
        "schemaVersion": 2,
        "mediaType": types.DOCKER_MANIFEST if docker else types.OCI_MANIFEST,
        "config": describe(config, _DOCKER_CONFIG if docker else _OCI_CONFIG, algorithm),
        "layers": [describe(layer.content, layer_type, algorithm) for layer in stack],
    }
    return assemble(document, [config, *(layer.content for layer in stack)], algorithm=algorithm)


def sized_image(*sizes_bytes: int, docker: bool = False, seed: int = 0) -> Image:
    """An image with a layer of each of these sizes, to the byte; ``seed`` makes others of them."""
    layers = [sized_layer(size, seed * 1000 + number) for number, size in enumerate(sizes_bytes)]
    return make_image(*layers, docker=docker)


def busybox_image(docker: bool = False) -> Image:
    """An image that runs: the machine's static busybox as /bin/sh, or a text file where it has none."""
    if not BUSYBOX.is_file():
        return make_image(docker=docker)
    return make_image(file_layer({"bin/sh": BUSYBOX.read_bytes()}), docker=docker)


def make_index(*children: Image, docker: bool = False, algorithm: str = "sha256") -> Image:
    """An index (or docker manifest list) of ``children``: none given, an amd64 and an arm64 image."""
    named = children or tuple(
        make_image(docker=docker, architecture=name, algorithm=algorithm) for name in ("amd64", "arm64")
    )
    document = {
        "schemaVersion": 2,
        "mediaType": types.DOCKER_LIST if docker else types.OCI_INDEX,
        "manifests": [_platform(child) for child in named],
    }
    return assemble(document, [], named, algorithm)


def _platform(child: Image) -> dict[str, Any]:
    entry = _named(child)
    config = next((blob for blob in child.blobs.values() if blob.startswith(b'{"architecture":')), None)
    if config is not None:
        entry["platform"] = {"architecture": json.loads(config)["architecture"], "os": "linux"}
    return entry


def make_artifact(subject: Image | None = None, *contents: bytes) -> Image:
    """An OCI artifact with the empty config ``{}``, that points to ``subject`` when there is one."""
    parts = contents or (EMPTY_JSON,)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": describe(EMPTY_JSON, EMPTY_TYPE),
        "layers": [describe(part, "application/octet-stream") for part in parts],
    }
    if subject is not None:
        document["subject"] = _named(subject)
    return assemble(document, [EMPTY_JSON, *parts])


def large_manifest(size_bytes: int) -> Image:
    """An artifact whose manifest has exactly ``size_bytes``, by an annotation."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "config": describe(EMPTY_JSON, EMPTY_TYPE),
        "layers": [describe(EMPTY_JSON, "application/octet-stream")],
        "annotations": {"padding": ""},
    }
    document["annotations"]["padding"] = "x" * (size_bytes - len(_dump(document)))
    return assemble(document, [EMPTY_JSON])


def image_with_empty_blob() -> Image:
    """An artifact one of whose layers has no bytes at all (R40)."""
    return make_artifact(None, EMPTY, b"not empty")


def foreign_layer_image(url: str, docker: bool = False) -> Image:
    """An image with a layer that clients are to fetch from ``url``: no registry has it (P53)."""
    config, layer = b'{"architecture":"amd64","os":"windows"}', b"somebody else's bytes"
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    document = {
        "schemaVersion": 2,
        "mediaType": types.DOCKER_MANIFEST if docker else types.OCI_MANIFEST,
        "config": describe(config, _DOCKER_CONFIG if docker else _OCI_CONFIG),
        "layers": [{**describe(layer, foreign), "urls": [url]}],
    }
    return assemble(document, [config])


def index_of_indexes() -> Image:
    """An index whose children are an index and an image."""
    return make_index(make_index(), make_image(labels={"beside": "the index"}))


def describe(content: bytes, media_type: str, algorithm: str = "sha256") -> dict[str, Any]:
    """The descriptor of ``content`` as it stands in a manifest."""
    return {"mediaType": media_type, "digest": str(Digest.of(content, algorithm)), "size": len(content)}


def _named(image: Image) -> dict[str, Any]:
    return {"mediaType": image.media_type, "digest": str(image.digest), "size": len(image.content)}


def assemble(
    document: Mapping[str, Any],
    contents: Sequence[bytes],
    children: tuple[Image, ...] = (),
    algorithm: str = "sha256",
) -> Image:
    """An image of any document, right or wrong, with the blobs and children that it is to have."""
    content = _dump(document)
    blobs = {Digest.of(blob, algorithm): blob for blob in contents}
    return Image(content, str(document["mediaType"]), Digest.of(content, algorithm), blobs, children)


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
