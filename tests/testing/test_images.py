"""The images are real: what they name is there, with the right size, digest and diff_id."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from regproxy.testing import images
from regproxy.testing.layers import MIN_SIZED_LAYER_BYTES, file_layer, sized_layer

ALL = {
    "oci": images.make_image(),
    "docker": images.make_image(docker=True),
    "sha512": images.make_image(algorithm="sha512"),
    "sized": images.sized_image(5000, 70_000),
    "busybox": images.busybox_image(),
    "index": images.make_index(),
    "list": images.make_index(docker=True),
    "artifact": images.make_artifact(images.make_image(), b"a signature"),
    "empty blob": images.image_with_empty_blob(),
    "indexes": images.index_of_indexes(),
    "large": images.large_manifest(MAX_MANIFEST_BYTES - 1),
}


@pytest.mark.parametrize("name", ALL)
def test_every_image_is_whole_and_its_manifests_are_taken(name: str) -> None:
    image = ALL[name]
    held = {Manifest.receive(m.content, m.media_type, m.digest).descriptor for m in image.all_manifests()}
    blobs = image.all_blobs()
    assert all(digest.matches(content) for digest, content in blobs.items())
    known = {(d.digest, d.size_bytes) for d in held} | {(d, len(b)) for d, b in blobs.items()}
    for manifest in image.all_manifests():
        named = {(d.digest, d.size_bytes) for d in manifest.names()}
        assert named <= known
        assert named


@pytest.mark.parametrize("name", ["oci", "docker", "sha512", "sized", "busybox"])
def test_config_names_the_archive_in_each_layer(name: str) -> None:
    image = ALL[name]
    document = json.loads(image.content)
    config = json.loads(image.blobs[Digest.parse(document["config"]["digest"])])
    archives = [gzip.decompress(image.blobs[Digest.parse(e["digest"])]) for e in document["layers"]]
    assert config["rootfs"]["diff_ids"] == [str(Digest.of(archive)) for archive in archives]


def test_images_are_the_same_every_time_and_labels_make_another() -> None:
    assert images.make_image() == images.make_image()
    assert images.sized_image(9000) == images.sized_image(9000)
    assert images.sized_image(9000).digest != images.sized_image(9000, seed=1).digest
    assert images.make_image(labels={"a": "b"}).digest != images.make_image().digest


def test_media_types_are_those_of_the_family() -> None:
    assert ALL["oci"].media_type == types.OCI_MANIFEST
    assert ALL["docker"].media_type == types.DOCKER_MANIFEST
    assert ALL["index"].media_type == types.OCI_INDEX
    assert ALL["list"].media_type == types.DOCKER_LIST
    assert {child.media_type for child in ALL["list"].children} == {types.DOCKER_MANIFEST}


def test_large_manifest_has_the_size_asked_for() -> None:
    assert len(ALL["large"].content) == MAX_MANIFEST_BYTES - 1


def test_size_counts_each_content_once() -> None:
    image = images.make_image()
    index = images.make_index(image, image)
    assert index.size_bytes == len(index.content) + image.size_bytes


@settings(max_examples=60, deadline=None)
@given(size=st.integers(MIN_SIZED_LAYER_BYTES, 400_000), seed=st.integers(0, 3))
def test_sized_layer_is_a_gzip_tar_of_exactly_that_size(size: int, seed: int) -> None:
    layer = sized_layer(size, seed)
    assert len(layer.content) == size
    archive = gzip.decompress(layer.content)
    assert layer.diff_id == Digest.of(archive)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert opened.getnames() == [f"data-{seed}"]


def test_sized_layer_refuses_what_no_archive_fits_in() -> None:
    with pytest.raises(ValueError, match="at least"):
        sized_layer(MIN_SIZED_LAYER_BYTES - 1)


def test_file_layer_holds_its_files() -> None:
    layer = file_layer({"b/two": b"2", "a": b"one"})
    with tarfile.open(fileobj=io.BytesIO(layer.content)) as archive:
        assert archive.getnames() == ["a", "b/two"]
        assert archive.extractfile("b/two").read() == b"2"  # type: ignore[union-attr]
