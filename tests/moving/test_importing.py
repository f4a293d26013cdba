"""Stores and layouts are taken in whole, what is wrong in them is left out, and nothing of them changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from regproxy.cli.importing import Job
from regproxy.errors import RegproxyError, StorageFailed
from regproxy.interfaces import Kind
from regproxy.moving.importing import Importer, weigh
from regproxy.moving.naming import Naming
from regproxy.moving.shipment import NotTaken
from regproxy.moving.sources import open_source
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.standalone import FolderInUse, with_store
from regproxy.storage import durable
from regproxy.storage.layout import Layout
from regproxy.storage.links import read_link
from regproxy.storage.opening import open_store
from regproxy.storage.records import read_record
from regproxy.storage.tags import decode_tag
from regproxy.testing.checker import check
from regproxy.testing.images import Image, make_image, make_index, sized_image
from regproxy.worker import Worker
from tests.moving.sources import (
    GHCR,
    HUB,
    NOW_S,
    UPSTREAMS,
    blob_in,
    layer_link,
    layout_files,
    settings_for,
    snapshot,
    take,
    write_file,
    write_layout,
    write_link,
    write_store,
    write_tar,
)

NGINX, APP = Repository("docker.io", "library/nginx"), Repository("docker.io", "org/app")
INDEX = make_index(sized_image(200_000, 3_000_000), make_image(architecture="arm64"))
IMAGE = sized_image(5000, 200_000, docker=True, seed=7)
GOOD = {"library/nginx": {"1.29": INDEX}, "org/app": {"v1": IMAGE, "v2": INDEX}}


def tag_at(root: Path, repository: Repository, tag: str):
    return decode_tag(read_record(Layout(root).tags(repository) / tag))


def holds(root: Path, repository: Repository, image: Image) -> bool:
    """Whether all of it is there, by links of that repository."""
    layout = Layout(root)
    links = [layout.link(repository, digest, Kind.BLOB) for digest in image.all_blobs()]
    links += [layout.link(repository, each.digest, Kind.MANIFEST) for each in image.all_manifests()]
    return all(
        read_link(link) and layout.blob(Digest.parse(f"sha256:{link.name}")).is_file() for link in links
    )


async def test_a_store_is_taken_in_whole(tmp_path: Path) -> None:
    source, root = write_store(tmp_path / "registry", GOOD), tmp_path / "root"
    for link in source.rglob("tags/*/current/link"):
        os.utime(link, (NOW_S - 5000, NOW_S - 5000))
    before = snapshot(source)
    done = await take(source, settings_for(root), "docker.io")
    assert check(root) == []
    assert holds(root, NGINX, INDEX)
    assert holds(root, APP, IMAGE)
    assert tag_at(root, APP, "v1").descriptor == IMAGE.descriptor
    assert tag_at(root, NGINX, "1.29").checked_s == NOW_S - 5000
    assert snapshot(source) == before
    assert (done.counts.repositories, done.counts.tags, done.wrong.count) == (2, 3, 0)
    assert done.counts.copied_bytes == done.counts.total_bytes > 3_000_000


async def test_rights_are_those_of_the_source(tmp_path: Path) -> None:
    """Bytes that a repository of the store has no link to are not this repository's here."""
    source, root = write_store(tmp_path / "registry", {"a/one": {"1": INDEX}}), tmp_path / "root"
    layer = next(iter(IMAGE.all_blobs()))
    write_file(blob_in(source, layer), IMAGE.all_blobs()[layer])
    write_link(source, "b/two", "_layers/sha256/" + "0" * 64, Digest("sha256", "0" * 64))
    await take(source, settings_for(root), "docker.io")
    assert not Layout(root).blob(layer).exists()
    assert not Layout(root).repository(Repository("docker.io", "b/two")).exists()


async def test_the_next_start_finds_no_other_credential(tmp_path: Path) -> None:
    """Or everything would have to be shown again, to an upstream that may not answer."""
    source, root = write_store(tmp_path / "registry", GOOD), tmp_path / "root"
    await take(source, settings_for(root), "docker.io")
    store = open_store(root, reactor, lambda: NOW_S + 10)
    try:
        assert not await store.credential_changed("docker.io", b"")
        assert (await store.manifests.get(APP, IMAGE.digest)).content == IMAGE.content
        (await store.blobs.open(APP, next(iter(IMAGE.blobs)))).close()
    finally:
        await store.close()


async def test_again_there_is_nothing_to_do(tmp_path: Path) -> None:
    source, settings = write_store(tmp_path / "registry", GOOD), settings_for(tmp_path / "root")
    await take(source, settings, "docker.io")
    before = snapshot(tmp_path / "root" / "repositories") | snapshot(tmp_path / "root" / "blobs")
    done = await take(source, settings, "docker.io")
    assert (done.counts.blobs, done.counts.manifests, done.counts.tags) == (0, 0, 0)
    assert done.counts.there_bytes == done.counts.total_bytes
    after = snapshot(tmp_path / "root" / "repositories") | snapshot(tmp_path / "root" / "blobs")
    assert after == before


@pytest.mark.parametrize("at_bytes", [1, 150_000, 1_500_000])
async def test_one_that_was_ended_goes_on(tmp_path: Path, at_bytes: int) -> None:
    """Cancelled in the middle it leaves a whole folder, and what came is not copied again."""
    source, conf = write_store(tmp_path / "registry", GOOD), settings_for(tmp_path / "root")
    moved = 0
    working: list[Deferred[None]] = []

    def moving(size_bytes: int) -> None:
        nonlocal moved
        moved += size_bytes
        if moved - size_bytes < at_bytes <= moved:
            reactor.callLater(0, working[0].cancel)

    async def work(store, ceiling) -> None:
        reader = Worker(reactor, "test-import")
        try:
            importer = Importer(store, reader, lambda: NOW_S, moving)
            working.append(Deferred.fromCoroutine(importer.run(shipment, weigh(shipment, store.holds))))
            await working[0]
        finally:
            await reader.stop()

    shipment = open_source(source, Naming(UPSTREAMS, "docker.io"))
    with pytest.raises(CancelledError):
        await with_store(conf, reactor, lambda: NOW_S, work)
    shipment.close()
    assert check(tmp_path / "root") == []
    assert list((tmp_path / "root" / "fills").glob("*")) == []
    kept = sum(path.stat().st_size for path in (tmp_path / "root" / "blobs").rglob("*") if path.is_file())
    done = await take(source, conf, "docker.io")
    assert done.counts.there_bytes == kept
    assert holds(tmp_path / "root", APP, IMAGE)


async def test_a_tag_that_was_confirmed_here_later_stays(tmp_path: Path) -> None:
    source, conf = (
        write_store(tmp_path / "registry", {"org/app": {"v1": INDEX}}),
        settings_for(tmp_path / "r"),
    )
    await take(source, conf, "docker.io")
    other = write_store(tmp_path / "other", {"org/app": {"v1": IMAGE}})
    for link in other.rglob("current/link"):
        os.utime(link, (5, 5))
    done = await take(other, conf, "docker.io")
    assert (done.counts.tags, done.counts.kept_tags) == (0, 1)
    assert tag_at(tmp_path / "r", APP, "v1").descriptor == INDEX.descriptor


async def test_a_time_to_come_is_now(tmp_path: Path) -> None:
    source = write_store(tmp_path / "registry", {"org/app": {"v1": IMAGE}})
    for link in source.rglob("current/link"):
        os.utime(link, (NOW_S + 1e6, NOW_S + 1e6))
    await take(source, settings_for(tmp_path / "root"), "docker.io")
    assert tag_at(tmp_path / "root", APP, "v1").checked_s == NOW_S


async def test_a_tag_of_what_is_gone_does_not_come(tmp_path: Path) -> None:
    """Nor is it foreseen."""
    source, root = write_store(tmp_path / "registry", {"org/app": {"v1": IMAGE}}), tmp_path / "root"
    write_link(source, "org/app", "_manifests/tags/v0/current", Digest.of(b"gone"))
    shipment = open_source(source, Naming(UPSTREAMS, "docker.io"))
    foreseen = Job(settings_for(root), shipment, dry_run=True)
    foreseen.run()
    shipment.close()
    done = await take(source, settings_for(root), "docker.io")
    assert (
        (foreseen.counts.tags, foreseen.counts.missing) == (done.counts.tags, done.counts.missing) == (1, 1)
    )


async def test_what_is_wrong_is_left_out_and_told(tmp_path: Path) -> None:
    """A flipped bit, a manifest that is none, links that lie, names that are none."""
    source, root = write_store(tmp_path / "registry", GOOD), tmp_path / "root"
    layer, *_ = [each for each in IMAGE.blobs if len(IMAGE.blobs[each]) == 200_000]
    path = blob_in(source, layer)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    rubbish = Digest.of(b"no manifest")
    write_file(blob_in(source, rubbish), b"no manifest")
    write_link(source, "org/app", f"_manifests/revisions/sha256/{rubbish.hex}", rubbish)
    write_link(source, "org/app", f"_layers/sha256/{'a' * 64}", rubbish)
    write_link(source, "org/app", "_layers/sha256/..x", rubbish)
    write_link(source, "Not/A name", f"_layers/sha256/{rubbish.hex}", rubbish)
    write_link(source, "org/app", "_manifests/tags/no\x1btag/current", rubbish)
    write_file(source / "docker/registry/v2/repositories/org/app/_manifests/tags/t/current/link", b"x" * 9999)
    done = await take(source, settings_for(root), "docker.io")
    assert check(root) == []
    assert not Layout(root).blob(layer).exists()
    assert not Layout(root).blob(rubbish).exists()
    assert holds(root, NGINX, INDEX)
    assert done.wrong.count == 7
    assert all(" " <= sign <= "~" for line in done.wrong.first for sign in line)


async def test_no_link_is_followed(tmp_path: Path) -> None:
    """A symbolic link, to a file or a folder, is nothing; nor are a socket, a pipe, a folder."""
    source, root = write_store(tmp_path / "registry", {"org/app": {"v1": IMAGE}}), tmp_path / "root"
    secret = write_file(tmp_path / "secret", b"secret of the machine")
    digest = Digest.of(b"secret of the machine")
    blob_in(source, digest).parent.mkdir(parents=True)
    blob_in(source, digest).symlink_to(secret)
    layer_link(source, "org/app", digest)
    pipe = Digest.of(b"")
    blob_in(source, pipe).parent.mkdir(parents=True)
    os.mkfifo(blob_in(source, pipe))
    layer_link(source, "org/app", pipe)
    elsewhere = write_store(tmp_path / "elsewhere", {"stolen": {"v1": INDEX}})
    (source / "docker/registry/v2/repositories/stolen").symlink_to(
        elsewhere / "docker/registry/v2/repositories/stolen"
    )
    behind = Digest.of(b"behind a folder that is a link")
    write_file(blob_in(tmp_path / "elsewhere", behind), b"behind a folder that is a link")
    blob_in(source, behind).parent.parent.mkdir(parents=True, exist_ok=True)
    blob_in(source, behind).parent.symlink_to(blob_in(tmp_path / "elsewhere", behind).parent)
    layer_link(source, "org/app", behind)
    done = await take(source, settings_for(root), "docker.io")
    assert done.counts.missing == 3
    assert not Layout(root).blob(digest).exists()
    assert sorted(path.name for path in (root / "repositories/docker.io").iterdir() if path.is_dir()) == [
        "org"
    ]


async def test_what_was_revoked_is_vouched_for_anew(tmp_path: Path) -> None:
    source, conf = (
        write_store(tmp_path / "registry", {"org/app": {"v1": IMAGE}}),
        settings_for(tmp_path / "r"),
    )
    await take(source, conf, "docker.io")
    store = open_store(tmp_path / "r", reactor, lambda: NOW_S)
    await store.revoke(APP)
    await store.close()
    done = await take(source, conf, "docker.io")
    assert (done.counts.copied_bytes, done.counts.manifests) == (0, 1)
    store = open_store(tmp_path / "r", reactor, lambda: NOW_S)
    try:
        for layer in IMAGE.blobs:
            (await store.blobs.open(APP, layer)).close()
        assert (await store.manifests.get(APP, IMAGE.digest)).content == IMAGE.content
    finally:
        await store.close()


async def test_what_is_here_already_is_not_touched(tmp_path: Path) -> None:
    """The same again under another name: the links of the first one are as good as before."""
    source, root = write_layout(tmp_path / "l", layout_files({"v1": INDEX})), tmp_path / "root"
    await take(source, settings_for(root), "docker.io/org/app")
    before = snapshot(root / "blobs")
    done = await take(source, settings_for(root), "docker.io/nginx")
    assert (done.counts.tags, done.counts.manifests, done.counts.blobs) == (1, 3, 0)
    assert snapshot(root / "blobs") == before
    assert check(root) == []
    assert holds(root, NGINX, INDEX)


async def test_names_as_clients_know_them(tmp_path: Path) -> None:
    """On Docker Hub a name of one component is one of library/."""
    source = write_store(tmp_path / "registry", {"nginx": {"1": IMAGE}, "library/nginx": {"2": INDEX}})
    await take(source, settings_for(tmp_path / "root"), "docker.io")
    assert holds(tmp_path / "root", NGINX, IMAGE)
    assert holds(tmp_path / "root", NGINX, INDEX)


async def test_what_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    source, root = write_store(tmp_path / "registry", GOOD), tmp_path / "root"
    with pytest.raises(StorageFailed, match=r"storage\.max_size"):
        await take(source, settings_for(root, 3_000_000), "docker.io")
    assert not (root / "blobs").exists()


async def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    source = write_store(tmp_path / "registry", GOOD)
    store = open_store(tmp_path / "root", reactor, lambda: NOW_S)
    try:
        with pytest.raises(FolderInUse, match=f"process {os.getpid()}$"):
            await take(source, settings_for(tmp_path / "root"), "docker.io")
    finally:
        await store.close()


async def test_bytes_are_shared_where_the_file_system_can(tmp_path: Path, monkeypatch) -> None:
    """They are hashed all the same."""
    cloned = []

    def clone(descriptor: int, source: int) -> bool:
        cloned.append(os.write(descriptor, os.pread(source, 1 << 30, 0)))
        return True

    monkeypatch.setattr(durable, "clone", clone)
    source, root = write_store(tmp_path / "registry", GOOD), tmp_path / "root"
    layer = next(each for each in IMAGE.blobs if len(IMAGE.blobs[each]) == 200_000)
    path = blob_in(source, layer)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    done = await take(source, settings_for(root), "docker.io")
    assert check(root) == []
    assert sorted(cloned) == [200_000, 200_000, 3_000_000]
    assert done.counts.cloned_bytes == 3_200_000
    assert not Layout(root).blob(layer).exists()
    assert done.wrong.first == [f"{layer}: its bytes are others"]


@pytest.mark.parametrize("as_tar", [False, True])
async def test_a_layout_is_taken_in(tmp_path: Path, as_tar: bool) -> None:
    files = layout_files({"ghcr.io/org/app:v1": IMAGE, "docker.io/nginx:1.29": INDEX})
    source = write_tar(tmp_path / "l.tar", files) if as_tar else write_layout(tmp_path / "l", files)
    done = await take(source, settings_for(tmp_path / "root"))
    assert (done.wrong.count, done.counts.tags) == (0, 2)
    assert check(tmp_path / "root") == []
    assert holds(tmp_path / "root", Repository("ghcr.io", "org/app"), IMAGE)
    assert holds(tmp_path / "root", NGINX, INDEX)
    assert tag_at(tmp_path / "root", NGINX, "1.29").descriptor == INDEX.descriptor


async def test_a_name_that_the_layout_gives_twice_is_told(tmp_path: Path) -> None:
    """One of them has the tag; all of both comes."""
    files = layout_files({"docker.io/nginx:1": IMAGE, "docker.io/nginx:2": INDEX})
    files["index.json"] = files["index.json"].replace(b"nginx:2", b"nginx:1")
    done = await take(write_layout(tmp_path / "l", files), settings_for(tmp_path / "root"))
    assert done.wrong.first == ["docker.io/nginx:1: it names several images; the last one has the tag"]
    assert tag_at(tmp_path / "root", NGINX, "1").descriptor == INDEX.descriptor
    assert holds(tmp_path / "root", NGINX, IMAGE)


async def test_a_layout_that_lacks_platforms(tmp_path: Path) -> None:
    files = layout_files({"docker.io/nginx:1.29": INDEX})
    for digest in (INDEX.children[1].digest, *INDEX.children[1].blobs):
        del files[f"blobs/sha256/{digest.hex}"]
    done = await take(write_layout(tmp_path / "l", files), settings_for(tmp_path / "root"))
    assert done.wrong.count == 0
    assert holds(tmp_path / "root", NGINX, INDEX.children[0])
    assert tag_at(tmp_path / "root", NGINX, "1.29").descriptor == INDEX.descriptor


EVIL = st.sampled_from(
    [
        "../../../etc/passwd",
        "/etc/passwd",
        "blobs/sha256/../../oci-layout",
        "index.json",
        "oci-layout",
        "blobs/sha256/" + "a" * 64,
        "./blobs/sha256",
        "docker/registry/v2/repositories",
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_bent_tar_is_refused_or_read_within_bounds(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes of it are changed: one of our errors, or a shipment of names that are names."""
    files = layout_files({"docker.io/nginx:1.29": make_image()})
    files |= {data.draw(EVIL): data.draw(st.binary(max_size=40)) for _ in range(data.draw(st.integers(0, 2)))}
    content = bytearray(write_tar(tmp_path / "t.tar", files).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    (tmp_path / "t.tar").write_bytes(content[:cut] if data.draw(st.booleans()) else content)
    try:
        shipment = open_source(tmp_path / "t.tar", Naming(UPSTREAMS, None))
    except (NotTaken, RegproxyError):
        return
    with_names = [(each, holding) for each, holding in shipment.repositories.items()]
    shipment.close()
    assert all(each.upstream in (HUB.name, GHCR.name) for each, _ in with_names)
    assert all(isinstance(tag, Tag) for _, holding in with_names for tag in holding.tags)
