"""Stores of a docker-registry and OCI layouts, written by hand, good ones and others."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from twisted.internet import reactor

from regproxy.cli.importing import Job
from regproxy.moving.naming import Naming
from regproxy.moving.sources import open_source
from regproxy.oci.digest import Digest
from regproxy.settings import Settings, StorageSettings, UpstreamSettings
from regproxy.testing.images import Image

HUB = UpstreamSettings("docker.io", ("https://registry-1.docker.io",), default=True, library=True)
GHCR = UpstreamSettings("ghcr.io", ("https://ghcr.io",))
UPSTREAMS = (HUB, GHCR)
NOW_S = 1_900_000_000.0
V2 = "docker/registry/v2"


def settings_for(root: Path, max_size_bytes: int | None = None) -> Settings:
    """Of a mirror with its folder at ``root``."""
    return Settings((), (), StorageSettings(root, max_size_bytes, 0), UPSTREAMS)


def write_file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def blob_in(store: Path, digest: Digest) -> Path:
    return store / V2 / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex / "data"


def write_link(store: Path, repository: str, place: str, digest: Digest) -> Path:
    return write_file(store / V2 / "repositories" / repository / place / "link", str(digest).encode())


def layer_link(store: Path, repository: str, digest: Digest) -> Path:
    return write_link(store, repository, f"_layers/{digest.algorithm}/{digest.hex}", digest)


def write_store(store: Path, content: Mapping[str, Mapping[str, Image]]) -> Path:
    """As docker-registry lays it out: images by repository and tag."""
    for repository, tags in content.items():
        for tag, image in tags.items():
            for digest, blob in image.all_blobs().items():
                write_file(blob_in(store, digest), blob)
                layer_link(store, repository, digest)
            for manifest in image.all_manifests():
                digest = manifest.digest
                write_file(blob_in(store, digest), manifest.content)
                write_link(store, repository, f"_manifests/revisions/{digest.algorithm}/{digest.hex}", digest)
            write_link(store, repository, f"_manifests/tags/{tag}/current", image.digest)
            index = f"_manifests/tags/{tag}/index/{image.digest.algorithm}/{image.digest.hex}"
            write_link(store, repository, index, image.digest)
        write_file(store / V2 / "repositories" / repository / "_uploads" / "u" / "data", b"half a blob")
    write_file(store / "scheduler-state.json", b"{}")
    return store


def layout_files(images: Mapping[str | None, Image]) -> dict[str, bytes]:
    """The files of an OCI layout, by the names in its index."""
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    listed = []
    for name, image in images.items():
        for digest, blob in image.all_blobs().items():
            files[f"blobs/{digest.algorithm}/{digest.hex}"] = blob
        for manifest in image.all_manifests():
            files[f"blobs/{manifest.digest.algorithm}/{manifest.digest.hex}"] = manifest.content
        noted = {} if name is None else {"annotations": {"org.opencontainers.image.ref.name": name}}
        size = len(image.content)
        listed.append({"mediaType": image.media_type, "digest": str(image.digest), "size": size, **noted})
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
    return files


def write_layout(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        write_file(folder / name, content)
    return folder


def write_tar(path: Path, files: Mapping[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


async def take(source: Path, settings: Settings, named: str | None = None) -> Job:
    """Import it, as ``regproxy import`` does."""
    shipment = open_source(source, Naming(settings.upstreams, named))
    try:
        job = Job(settings, shipment, wall=lambda: NOW_S)
        await job.work(reactor)
        return job
    finally:
        shipment.close()


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All of its files: that nothing of it was changed."""
    return {
        str(path): (found.st_ino, found.st_mode, found.st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (found := os.lstat(path))
    }
