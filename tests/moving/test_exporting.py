"""Images that are here whole are written as a layout: the same bytes each time, and nothing else left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.interfaces import Kind
from regproxy.moving.exporting import IncompleteImage, Whole, whole
from regproxy.moving.holdings import Damaged, RepositoryFiles, chunks
from regproxy.moving.writing import CannotWrite, Named, Taken, write
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.repository import Repository
from regproxy.storage.layout import Layout
from regproxy.testing.images import (
    Image,
    foreign_layer_image,
    index_of_indexes,
    make_artifact,
    make_image,
    make_index,
    sized_image,
)
from tests.moving.sources import layout_files, settings_for, take, write_layout

INDEX = make_index(sized_image(3000), make_image(architecture="arm64"))


class Holds:
    """All of an image but what is ``lost``."""

    def __init__(self, image: Image, lost: frozenset[Digest] = frozenset()) -> None:
        self._manifests = {each.digest: each for each in image.all_manifests() if each.digest not in lost}
        self._blobs = {digest: len(blob) for digest, blob in image.all_blobs().items() if digest not in lost}

    def manifest(self, digest: Digest) -> Manifest | None:
        return self._manifests.get(digest)

    def size_bytes(self, digest: Digest) -> int | None:
        return self._blobs.get(digest)


def everything(image: Image) -> dict[Digest, int]:
    manifests = {each.digest: len(each.content) for each in image.all_manifests()}
    return manifests | {digest: len(blob) for digest, blob in image.all_blobs().items()}


@pytest.mark.parametrize(
    "image", [make_image(), INDEX, index_of_indexes(), make_artifact(), make_index(docker=True)]
)
def test_a_whole_image(image: Image) -> None:
    found = whole(Holds(image), image.digest)
    assert found == Whole(image.descriptor, everything(image), ())


@given(st.sets(st.sampled_from(sorted(everything(INDEX)))))
def test_what_is_written_of_an_image_is_complete(lost: set[Digest]) -> None:
    """Whatever is missing: a platform is there with all it names, or is told."""
    held = Holds(INDEX, frozenset(lost))
    try:
        found = whole(held, INDEX.digest)
    except IncompleteImage:
        assert INDEX.digest in lost or all(lost & everything(each).keys() for each in INDEX.children)
        return
    there = [each for each in INDEX.children if not lost & everything(each).keys()]
    wanted: Mapping[Digest, int] = {INDEX.digest: len(INDEX.content)}
    for each in there:
        wanted = {**wanted, **everything(each)}
    assert found.contents == wanted
    assert len(found.missing) == len(INDEX.children) - len(there)
    assert set(found.missing) <= {"linux/amd64", "linux/arm64"}


def test_layers_that_no_registry_has_are_not_missing() -> None:
    image = foreign_layer_image("http://elsewhere.example/layer")
    assert whole(Holds(image), image.digest).missing == ()


def test_a_chain_of_indices_ends() -> None:
    image = make_index(make_image())
    for _ in range(40):
        image = make_index(image)
    with pytest.raises(IncompleteImage):
        whole(Holds(image), image.digest)


def bytes_of(image: Image):
    content = {each.digest: each.content for each in image.all_manifests()} | image.all_blobs()
    return lambda digest, size_bytes: (part for part in [content[digest][:100], content[digest][100:]])


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


NAMED = [Named("docker.io/org/app:1", INDEX.descriptor)]


def test_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "out", NAMED, everything(INDEX), bytes_of(INDEX))
    files = files_in(tmp_path / "out")
    index = json.loads(files.pop("index.json"))
    expected = layout_files({"docker.io/org/app:1": INDEX})
    del expected["index.json"]
    assert files == expected
    (entry,) = index["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "docker.io/org/app:1"
    assert (entry["digest"], entry["size"]) == (str(INDEX.digest), len(INDEX.content))


def test_a_tar_is_the_same_each_time(tmp_path: Path) -> None:
    more = [*NAMED, Named("docker.io/org/app:0", INDEX.descriptor)]
    write(tmp_path / "a.tar", more, everything(INDEX), bytes_of(INDEX))
    turned = dict(reversed(everything(INDEX).items()))
    write(tmp_path / "b.tar", more[::-1], turned, bytes_of(INDEX))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize("name", ["out", "out.tar"])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, Damaged("spoilt"), OSError(28, "No space left on device")]
)
def test_what_cannot_be_finished_leaves_nothing(tmp_path: Path, name: str, error) -> None:
    def give(digest: Digest, size_bytes: int):
        yield b"x"
        raise error

    with pytest.raises((KeyboardInterrupt, Damaged, CannotWrite)):
        write(tmp_path / name, NAMED, everything(INDEX), give)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "mine.tar").touch()
    (tmp_path / "link.tar").symlink_to("nowhere")
    for name in ("full", "mine.tar", "link.tar", "full/mine"):
        with pytest.raises(Taken):
            write(tmp_path / name, NAMED, everything(INDEX), bytes_of(INDEX))
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "oci-layout").touch()
    with pytest.raises(Taken, match="killed in its middle: remove it first"):
        write(tmp_path / "killed", NAMED, everything(INDEX), bytes_of(INDEX))
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", NAMED, everything(INDEX), bytes_of(INDEX))
    with pytest.raises(CannotWrite, match="No such file"):
        write(tmp_path / "no" / "where", NAMED, everything(INDEX), bytes_of(INDEX))


@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_what_another_one_writes_there_meanwhile_stays(tmp_path: Path, name: str) -> None:
    target = tmp_path / name

    def give(digest: Digest, size_bytes: int) -> Iterator[bytes]:
        theirs = target if name.endswith(".tar") else target / "index.json"
        theirs.write_bytes(b"theirs")
        return iter([everything_of[digest]])

    everything_of = {**INDEX.all_blobs(), **{each.digest: each.content for each in INDEX.all_manifests()}}
    with pytest.raises(Taken):
        write(target, NAMED, everything(INDEX), lambda digest, size: (part for part in give(digest, size)))
    (left,) = files_in(tmp_path).values()
    assert left == b"theirs"


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(target: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(CannotWrite, match="out cannot be looked into: Permission denied"):
        write(tmp_path / "out", NAMED, everything(INDEX), bytes_of(INDEX))


async def test_the_folder_is_read_by_right(tmp_path: Path) -> None:
    """Bytes that only another repository has a link to are not this one's."""
    source = write_layout(tmp_path / "l", layout_files({"docker.io/org/app:1": INDEX}))
    await take(source, settings_for(tmp_path / "root"))
    layout = Layout(tmp_path / "root")
    held = RepositoryFiles(layout, Repository("docker.io", "org/app"))
    assert whole(held, INDEX.digest).contents == everything(INDEX)
    assert held.tagged(held.tags()[0]) == INDEX.digest
    other = RepositoryFiles(layout, Repository("docker.io", "org/other"))
    assert (other.manifest(INDEX.digest), other.tags()) == (None, ())
    layer = next(iter(INDEX.children[0].blobs))
    layout.link(held.repository, layer, Kind.BLOB).unlink()
    assert whole(held, INDEX.digest).missing == ("linux/amd64",)


async def test_bytes_are_verified_as_they_are_read(tmp_path: Path) -> None:
    source = write_layout(tmp_path / "l", layout_files({"docker.io/org/app:1": INDEX}))
    await take(source, settings_for(tmp_path / "root"))
    layout = Layout(tmp_path / "root")
    layer = next(iter(INDEX.all_blobs()))
    path, size = layout.blob(layer), len(INDEX.all_blobs()[layer])
    assert b"".join(chunks(layout, layer, size)) == INDEX.all_blobs()[layer]
    path.chmod(0o600)
    for content in (b"x" * size, b"x" * (size - 1), INDEX.all_blobs()[layer] + b"x"):
        path.write_bytes(content)
        with pytest.raises(Damaged):
            list(chunks(layout, layer, size))
    path.unlink()
    with pytest.raises(Damaged, match="went while"):
        list(chunks(layout, layer, size))
