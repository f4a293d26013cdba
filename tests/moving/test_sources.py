"""What is named is told apart, and what cannot be taken in says why."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from regproxy.errors import InvalidRequest
from regproxy.moving.naming import Naming
from regproxy.moving.shipment import NotTaken
from regproxy.moving.sources import open_source
from regproxy.oci.digest import Digest
from regproxy.testing.images import make_image, make_index
from tests.moving.sources import UPSTREAMS, layout_files, write_file, write_layout, write_store, write_tar

NAME = "docker.io/org/app:1"


def refusal(path: Path, said: str | None = "docker.io") -> str:
    with pytest.raises((NotTaken, InvalidRequest)) as caught:
        open_source(path, Naming(UPSTREAMS, said))
    return str(caught.value)


def remarks(path: Path) -> list[str]:
    shipment = open_source(path, Naming(UPSTREAMS, None))
    shipment.close()
    return shipment.remarks.first


def test_nothing_at_all(tmp_path: Path) -> None:
    assert "nothing that can be taken in" in refusal(tmp_path)
    assert "no such folder or file" in refusal(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    assert "no such folder or file" in refusal(tmp_path / "pipe")


def test_a_docker_archive_says_what_to_do(tmp_path: Path) -> None:
    files = {"manifest.json": b"[]", "repositories": b"{}"}
    assert "skopeo copy docker-archive:" in refusal(write_tar(tmp_path / "d.tar", files))
    assert "skopeo copy docker-archive:" in refusal(write_layout(tmp_path / "d", files))


def test_what_docker_save_writes_now_is_a_layout(tmp_path: Path) -> None:
    """It has the old index beside the new one, and names images as containerd does."""
    image = make_image()
    files = layout_files({"1": image})
    index = json.loads(files["index.json"])
    index["manifests"][0]["annotations"]["io.containerd.image.name"] = NAME
    files |= {"index.json": json.dumps(index).encode(), "manifest.json": b"[]"}
    shipment = open_source(write_tar(tmp_path / "d.tar", files), Naming(UPSTREAMS, None))
    shipment.close()
    assert {f"{each}:{tag}" for each, holding in shipment.repositories.items() for tag in holding.tags} == {
        NAME
    }


def test_a_store_must_be_said_whose_it_is(tmp_path: Path) -> None:
    write_store(tmp_path, {"org/app": {"1": make_image()}})
    assert "--as UPSTREAM" in refusal(tmp_path, None)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("oci-layout", b"{", "oci-layout cannot be read"),
        ("oci-layout", b'{"imageLayoutVersion":"2.0.0"}', "version that is not known"),
        ("index.json", None, "not written to its end"),
        ("index.json", b"[]", "no object"),
        ("index.json", b"{}", "lists no images"),
        ("index.json", b"[" * 100_000, "cannot be read"),
        (
            "index.json",
            b'{"manifests":' + b"[" + b"{}," * 20_000 + b"{}]}",
            "lists no images|names something",
        ),
        ("index.json", b'{"manifests":[{"digest":"sha256:../../x"}]}', "names something that is none"),
        ("index.json", b'{"manifests":[7]}', "names something that is none"),
    ],
)
def test_layouts_that_are_none(tmp_path: Path, name: str, content: bytes | None, why: str) -> None:
    files = layout_files({NAME: make_image()})
    if content is None:
        del files[name]
    else:
        files[name] = content
    with pytest.raises(NotTaken, match=why):
        open_source(write_layout(tmp_path / "l", files), Naming(UPSTREAMS, None))


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    image = make_image()
    files = layout_files({NAME: image})
    del files[f"blobs/sha256/{image.digest.hex}"]
    assert remarks(write_layout(tmp_path / "l", files)) == [f"{NAME}: the layout names it and has not got it"]


def test_a_manifest_with_other_bytes(tmp_path: Path) -> None:
    image = make_image()
    files = layout_files({NAME: image})
    files[f"blobs/sha256/{image.digest.hex}"] += b" "
    assert "do not match" in remarks(write_layout(tmp_path / "l", files))[0]


def test_an_index_that_names_itself_ends(tmp_path: Path) -> None:
    """No bytes can name themselves; a chain of indices can be long: what is left out of it is told."""
    image = make_index(make_image())
    for _ in range(40):
        image = make_index(image)
    [remark] = remarks(write_layout(tmp_path / "l", layout_files({NAME: image})))
    assert "left out, below 8 nested indices" in remark


def test_blobs_behind_links_are_not_there(tmp_path: Path) -> None:
    image = make_image()
    files = layout_files({NAME: image})
    content = files.pop(f"blobs/sha256/{image.digest.hex}")
    source = write_layout(tmp_path / "l", files)
    (source / f"blobs/sha256/{image.digest.hex}").symlink_to(write_file(tmp_path / "elsewhere", content))
    assert "has not got it" in remarks(source)[0]
    assert Digest.of(content) == image.digest
