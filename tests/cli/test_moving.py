"""``regproxy import`` and ``export``, as people use them: what they say, their exit codes, no tracebacks."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from regproxy.cli import importing, main
from regproxy.cli.interruption import interruptible
from regproxy.cli.running import Interrupted
from regproxy.errors import StorageFailed
from regproxy.interfaces import DiskUse
from regproxy.settings import StorageSettings
from regproxy.standalone import Ceiling
from regproxy.storage.owner import check_owner
from regproxy.testing.images import make_image, make_index, sized_image
from tests.moving.sources import (
    layout_files,
    settings_for,
    take,
    write_file,
    write_layout,
    write_store,
    write_tar,
)

SAY_REPOSITORY = "say --as UPSTREAM/REPOSITORY"
INDEX = make_index(sized_image(3000), make_image(architecture="arm64"))
IMAGE = sized_image(50_000)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with settings and what may be moved in."""
    (tmp_path / "r.yml").write_text(f"storage: {{root: {tmp_path}/root}}\n")
    write_store(tmp_path / "store", {"nginx": {"1.29": INDEX}, "org/app": {"v1": IMAGE}})
    return tmp_path


async def filled(site: Path) -> None:
    await take(site / "store", settings_for(site / "root"), "docker.io")


def regproxy(site: Path, *arguments: str) -> Result:
    done = CliRunner().invoke(main, [*arguments, "--config", str(site / "r.yml")])
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done


@pytest.mark.parametrize("verb", ["import", "export"])
def test_help_says_what_the_settings_are_for(site: Path, verb: str) -> None:
    """The folder; nobody is asked."""
    told = " ".join(regproxy(site, verb, "--help").stdout.split())
    assert "-c, --config FILE Whose storage folder and upstreams are meant [default: $REG" in told
    assert "admin" not in told


def test_a_dry_run_of_an_import(site: Path) -> None:
    done = regproxy(site, "import", "-n", str(site / "store"), "--as", "docker.io")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        f"{site}/store: 2 tags, 4 manifests, 6 blobs of 2 repositories would come, 52.7 KiB\n"
    )
    assert not (site / "root").exists()


@pytest.mark.parametrize("ends", [None, Interrupted()])
@pytest.mark.parametrize("dry_run", [False, True])
def test_an_import_is_a_line_in_the_log_however_it_ends(
    site: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool, ends: Exception | None
) -> None:
    """A dry run is none: it changes nothing."""
    noted: list[tuple[str, ...]] = []

    def ended(job: importing.Job) -> None:
        if ends is not None:
            raise ends

    monkeypatch.setattr(importing, "note", lambda *words: noted.append(words))
    monkeypatch.setattr(importing.Job, "run", ended)
    importing.run(site / "store", "docker.io", settings_for(site / "root"), dry_run=dry_run, as_json=False)
    line = ("import", f"{site}/store as docker.io", "0 tags, 0 manifests, 0 blobs, 0 left out")
    assert noted == ([] if dry_run else [line])


async def test_a_dry_run_of_what_is_there(site: Path) -> None:
    await filled(site)
    done = regproxy(site, "import", "-n", "--json", str(site / "store"), "--as", "docker.io")
    counts = json.loads(done.stdout)
    assert done.exit_code == 7
    assert (counts["program"], counts["version"], counts["dry_run"]) == ("regproxy", 1, True)
    assert [counts[key] for key in ("tags", "manifests", "blobs", "there", "wrong")] == [0, 0, 0, 6, 0]


def test_what_is_wrong_is_told_harmless(site: Path) -> None:
    files = layout_files({"\x1b[2Jdocker.io/x:1": IMAGE, "docker.io/org/app:1": INDEX})
    done = regproxy(site, "import", "-n", str(write_layout(site / "l", files)))
    assert done.exit_code == 8
    assert done.stderr.startswith("regproxy: ?[2Jdocker.io/x:1: ")
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["store"], 2, "say --as UPSTREAM"),
        (["store", "--as", "nowhere.example"], 2, "not among the upstreams"),
        (["nothing"], 2, "no such folder or file"),
        (["root"], 2, "nothing that can be taken in"),
        (["d.tar", "--as", "docker.io"], 2, "docker-archive"),
        (["z.tar", "--as", "docker.io"], 2, "compressed (gzip)"),
        (["l"], 2, f"v1: only its tag is known: {SAY_REPOSITORY} (none of its 2 images is taken in)\n"),
        (["l", "--as", "docker.io"], 2, f"v1: only its tag is known: {SAY_REPOSITORY} (none of "),
        (
            ["l", "--as", "docker.io/org/app:x"],
            2,
            "2 images the one tag docker.io/org/app:x: say --as docker.io/org/app\n",
        ),
        (
            ["g", "--as", "docker.io"],
            2,
            "ghcr.io/org/app:1: it is of another registry than --as says: leave that away\n",
        ),
    ],
)
def test_what_cannot_be_taken_in(site: Path, arguments: Sequence[str], code: int, why: str) -> None:
    (site / "root").mkdir()
    write_tar(site / "d.tar", {"manifest.json": b"[]"})
    write_file(site / "z.tar", b"\x1f\x8b" + bytes(600))
    write_layout(site / "l", layout_files({"v1": IMAGE, "v2": INDEX}))
    write_layout(site / "g", layout_files({"ghcr.io/org/app:1": IMAGE}))
    for more in (["-n"], []):
        done = regproxy(site, "import", *more, str(site / arguments[0]), *arguments[1:])
        assert (done.exit_code, done.stdout) == (code, "")
        assert why in done.stderr
    assert list((site / "root").iterdir()) == []


def test_where_all_of_it_was_left_out_it_is_not_called_nothing_new(site: Path) -> None:
    files = layout_files({"docker.io/org/app:1": IMAGE})
    files[f"blobs/sha256/{IMAGE.digest.hex}"] = b"{}"
    write_layout(site / "l", files)
    done = regproxy(site, "import", "-n", str(site / "l"))
    assert (done.exit_code, done.stdout) == (8, f"{site}/l: nothing of it would come: 1 thing left out\n")
    assert done.stderr.startswith("regproxy: docker.io/org/app:1: ")


async def test_an_export(site: Path) -> None:
    await filled(site)
    done = regproxy(site, "export", "nginx:1.29", "docker.io/org/app", "--to", str(site / "out"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "docker.io/library/nginx:1.29: 4.87 KiB",
        "docker.io/org/app:v1: 49.5 KiB",
        f"2 images, 54.4 KiB, written to {site}/out",
    ]
    assert (site / "out" / "index.json").is_file()


async def test_a_dry_run_of_an_export_foretells_a_refusal(site: Path) -> None:
    await filled(site)
    (site / "mine.tar").touch()
    for more in ([], ["--dry-run"]):
        done = regproxy(site, "export", "nginx:1.29", "--to", str(site / "mine.tar"), *more)
        assert (done.exit_code, "is there already" in done.stderr) == (2, True)
    done = regproxy(site, "export", "nginx:1.29", "--to", str(site / "new"), "--dry-run")
    assert (done.exit_code, (site / "new").exists()) == (0, False)


async def test_an_export_tells_what_it_lacks(site: Path) -> None:
    await filled(site)
    for layer in INDEX.children[1].blobs:
        (site / f"root/repositories/docker.io/library/nginx/_layers/sha256/{layer.hex}").unlink()
    done = regproxy(site, "export", "nginx", "org/none", "org/app:v9", "--to", str(site / "o.tar"))
    assert done.exit_code == 8
    assert "  without linux/arm64: not here whole\n" in done.stdout
    assert done.stderr == (
        "regproxy: docker.io/org/none: no tag of it is here\nregproxy: docker.io/org/app:v9: it is not here\n"
    )
    told = json.loads(regproxy(site, "export", "nginx", "-n", "--json", "--to", str(site / "x")).stdout)
    assert told["images"][0]["missing"] == ["linux/arm64"]
    assert not (site / "x").exists()


async def test_an_export_by_digest(site: Path) -> None:
    await filled(site)
    name = f"docker.io/library/nginx@{INDEX.children[0].digest}"
    done = regproxy(site, "export", name, "--to", str(site / "o"))
    assert done.exit_code == 0
    index = json.loads((site / "o" / "index.json").read_text())
    assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == name


async def test_an_export_of_damaged_bytes_leaves_nothing(site: Path) -> None:
    await filled(site)
    layer = next(each for each in IMAGE.blobs if len(IMAGE.blobs[each]) == 50_000)
    blob = site / f"root/blobs/sha256/{layer.hex[:2]}/{layer.hex}"
    blob.chmod(0o600)
    blob.write_bytes(b"x" * 50_000)
    done = regproxy(site, "export", "org/app", "--to", str(site / "out"))
    assert (done.exit_code, done.stdout) == (8, "")
    assert "damaged" in done.stderr
    assert not (site / "out").exists()


def test_an_export_of_no_mirror(site: Path) -> None:
    done = regproxy(site, "export", "org/app", "--to", str(site / "out"))
    assert done.exit_code == 8
    assert "no content of regproxy lies in" in done.stderr


def test_sigterm_lets_it_clear_away() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_another_user_owns_is_not_written(tmp_path: Path) -> None:
    """The daemon could not read it."""
    check_owner(tmp_path)
    check_owner(tmp_path / "none")
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(StorageFailed, match=r"belongs to #12345: .*sudo -u #12345"):
        check_owner(tmp_path)


def test_what_does_not_fit_says_what_to_do(tmp_path: Path) -> None:
    use = DiskUse(blobs=90 << 20, counted=True)
    limit = Ceiling(StorageSettings(tmp_path, max_size_bytes=100 << 20, min_free_bytes=0), lambda: use)
    limit.look(1 << 40, 1 << 41)
    limit.check(5 << 20)
    with pytest.raises(StorageFailed, match=r"storage\.max_size: 20\.0 MiB come, .* 90\.0 MiB of 100\.0 MiB"):
        limit.check(20 << 20)
    disk = Ceiling(StorageSettings(tmp_path, min_free_bytes=10 << 20), lambda: use)
    disk.look(30 << 20, 1 << 40)
    with pytest.raises(
        StorageFailed, match=r"25\.0 MiB come, 30\.0 MiB are free, and storage\.min_free leaves"
    ):
        disk.check(25 << 20)
