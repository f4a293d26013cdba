"""What the upstream holds, written as docker-registry keeps it on disk: no push, no copy.

Bytes are random but the same every time, so that two benches serve the same digests.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

MIB = 1024 * 1024
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_POOL_BYTES = 4 * MIB


@attrs.frozen
class Content:
    """Some bytes that a repository serves."""

    repository: str
    digest: str
    size_bytes: int

    @property
    def path(self) -> str:
        """Where a blob is asked for."""
        return f"/v2/{self.repository}/blobs/{self.digest}"

    @property
    def manifest_path(self) -> str:
        """Where a manifest is asked for by its digest."""
        return f"/v2/{self.repository}/manifests/{self.digest}"


@attrs.frozen
class Image:
    """A tagged manifest with all that it names; the config is the first of ``blobs``."""

    manifest: Content
    tag: str
    blobs: tuple[Content, ...]

    @property
    def tag_path(self) -> str:
        """Where its manifest is asked for by tag."""
        return f"/v2/{self.manifest.repository}/manifests/{self.tag}"

    @property
    def size_bytes(self) -> int:
        """All bytes of a pull."""
        return self.manifest.size_bytes + sum(blob.size_bytes for blob in self.blobs)


class Shelf:
    """A docker-registry's data folder while nobody serves it yet."""

    def __init__(self, root: Path) -> None:
        self._registry = root / "docker" / "registry" / "v2"

    def add_blob(self, repository: str, size_bytes: int, seed: int) -> Content:
        """A blob of ``size_bytes``; ``seed`` makes others of them."""
        hashed = hashlib.sha256()
        partial = self._registry / f"blob-{seed}"
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            for piece in _pieces(size_bytes, seed):
                hashed.update(piece)
                file.write(piece)
        digest = f"sha256:{hashed.hexdigest()}"
        place = self._blob(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(place)
        self._link(repository, "_layers", digest)
        return Content(repository, digest, size_bytes)

    def add_image(self, repository: str, tag: str, layers: tuple[Content, ...]) -> Image:
        """An image of ``layers``, which that repository must hold; its tag."""
        config = self._add_bytes(
            repository, _dump({"architecture": "amd64", "os": "linux", "seed": repository})
        )
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(config, _CONFIG_TYPE),
            "layers": [_descriptor(layer, _LAYER_TYPE) for layer in layers],
        }
        manifest = self._add_bytes(repository, _dump(document), "_manifests/revisions")
        for folder in (f"tags/{tag}/current", f"tags/{tag}/index/{manifest.digest.replace(':', '/')}"):
            self._write(
                self._repository(repository) / "_manifests" / folder / "link", manifest.digest.encode()
            )
        return Image(manifest, tag, (config, *layers))

    def _add_bytes(self, repository: str, content: bytes, kind: str = "_layers") -> Content:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._write(self._blob(digest), content)
        self._link(repository, kind, digest)
        return Content(repository, digest, len(content))

    def _blob(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        return self._registry / "blobs" / algorithm / name[:2] / name / "data"

    def _repository(self, name: str) -> Path:
        return self._registry / "repositories" / name

    def _link(self, repository: str, kind: str, digest: str) -> None:
        self._write(self._repository(repository) / kind / digest.replace(":", "/") / "link", digest.encode())

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _pieces(size_bytes: int, seed: int) -> Iterator[bytes]:
    pool = random.Random(seed).randbytes(min(_POOL_BYTES, size_bytes))
    for offset in range(0, size_bytes, _POOL_BYTES):
        piece = offset.to_bytes(8, "big") + pool[8:]
        yield piece[: size_bytes - offset]


def _descriptor(content: Content, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": content.digest, "size": content.size_bytes}


def _dump(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
