"""What ``ls``, ``du``, ``inspect``, ``pin``, ``warm`` and ``refresh`` make of answers, whoever gives them."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli import bars, main, tables
from regproxy.cli.asking import AskFailed
from regproxy.cli.du import told as du_told
from regproxy.cli.inspect import told as inspect_told
from regproxy.cli.lines import width_of
from regproxy.cli.ls import fetched
from regproxy.cli.ls import told as ls_told
from regproxy.cli.pin import told as pin_told
from regproxy.cli.warm import BATCH, MAX_LINES, batches, check, follow, read_names
from tests.cli.pages import anything
from tests.cli.test_asking import serving

warm_verb: Any = sys.modules["regproxy.cli.warm"]  # its name in the package is the command's
IMAGE: dict[str, Any] = {
    "repository": "docker.io/library/nginx",
    "tag": "1.29",
    "digest": f"sha256:{'ab' * 32}",
    "size_bytes": 53 << 20,
    "used_s": 1000,
    "pulls": 41,
    "sent_bytes": 2 << 30,
    "pinned": True,
    "missing": 0,
    "fresh": True,
    "checked_s": 1000,
}
JOB: dict[str, Any] = {
    "job": 1,
    "state": "running",
    "images": 4,
    "done": 1,
    "failed": 0,
    "moved": 0,
    "fetched_bytes": 1 << 20,
    "present": "docker.io/library/nginx:1.29",
    "waits": None,
    "layers": [
        {"digest": f"sha256:{'a' * 64}", "size_bytes": 100, "front_bytes": 50, "state": "fetching"},
        {"digest": f"sha256:{'b' * 64}", "size_bytes": 100, "front_bytes": 100, "state": "here"},
    ],
    "layer_count": 2,
    "present_bytes": 150,
    "present_size_bytes": 200,
    "failures": [],
}


def test_a_list_of_images() -> None:
    other = {**IMAGE, "tag": None, "pinned": False, "missing": 2, "fresh": None, "pulls": 3}
    assert list(ls_told([IMAGE, {**other, "repository": "ghcr.io/a/b\x1b[2J"}], 8200)) == [
        "IMAGE                         DIGEST            SIZE  USED  PULLS      SENT  STATE",
        "docker.io/library/nginx:1.29  abababababab  53.0 MiB    2h     41  2.00 GiB  whole pinned fresh",
        "ghcr.io/a/b?[2J               abababababab  53.0 MiB    2h      3  2.00 GiB  partial",
    ]


@given(anything)
def test_answers_of_another_form_are_told_in_one_line_or_refused(answer: Any) -> None:
    found = answer if isinstance(answer, dict) else {"images": answer, "action": "pin"}
    for told in (
        lambda: list(ls_told([found], 0)),
        lambda: list(du_told(found, True)),
        lambda: list(inspect_told(found, 0)),
        lambda: list(pin_told(found)),
    ):
        with suppress(AskFailed):
            told()


def test_all_pages_are_asked_for_and_no_more_than_the_limit() -> None:
    asked: list[Any] = []

    def ask(action: str, body: Any) -> dict[str, Any]:
        asked.append(dict(body))
        count = min(int(body["count"]), 500)
        done = int(body.get("after", [0, "0"])[1])
        left = min(count, 2500 - done)
        more = None if done + left >= 2500 else [0, str(done + left)]
        return {"images": [IMAGE] * left, "more": more}

    assert len(list(fetched(ask, "nginx", "used", None))) == 2500
    assert [body.get("after") for body in asked] == [
        None,
        *([0, str(500 * number)] for number in range(1, 5)),
    ]
    assert all(body["pattern"] == "nginx" and body["sort"] == "used" for body in asked)
    assert len(list(fetched(ask, None, "name", 1200))) == 1200


@given(
    st.lists(st.lists(st.text("abc", max_size=9), min_size=3, max_size=3), max_size=6),
    st.sets(st.integers(0, 2)),
)
def test_columns_of_a_table_begin_at_the_same_place(rows: list[list[str]], right: set[int]) -> None:
    lines = list(tables.table(("A", "B", "C"), rows, frozenset(right)))
    assert len(lines) == len(rows) + 1
    widths = [max(map(len, column)) for column in zip(("A", "B", "C"), *rows, strict=True)]
    for line, row in zip(lines, (("A", "B", "C"), *rows), strict=True):
        padded = line.ljust(sum(widths) + 4)
        at = 0
        for width, cell in zip(widths, row, strict=True):
            assert padded[at : at + width].strip() == cell
            at += width + 2


def test_bars_of_a_job() -> None:
    drawn = ["".join(part.text for part in line) for line in bars.picture(JOB, 80)]
    assert drawn == [
        "docker.io/library/nginx:1.29",
        "  aaaaaaaaaaaa  [###############...............]  50 B of 100 B  fetching",
        "  bbbbbbbbbbbb  [##############################]  100 B of 100 B  here",
        "total         [#############.................]  1 of 4 images, 1.00 MiB fetched",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"), [(["nope"], "nothing that is cached is nope"), ([], "nothing is cached")]
)
def test_sums_of_nothing_end_as_a_list_of_nothing(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = {"name": "docker.io", "own_bytes": 1, "shared_bytes": 0, "things": 1, "tags": 1}
    empty: dict[str, Any] = {"disk_bytes": 0, "upstreams": [], "repositories": [], "count": 0}
    full = {"disk_bytes": 1, "upstreams": [share], "repositories": [share], "count": 1}
    for answer, code, err in ((empty, 7, f"regproxy: {said}\n"), (full, 0, "")):
        monkeypatch.setattr(sys.modules["regproxy.cli.du"], "by_hand", lambda talk, where, it=answer: it)
        for form in ([], ["--json"]):
            done = CliRunner().invoke(main, ["du", *arguments, *form])
            assert (done.exit_code, done.stderr) == (code, err)
            assert bool(done.stdout) is (bool(form) or code == 0)
    monkeypatch.setattr(sys.modules["regproxy.cli.ls"], "by_hand", lambda talk, where: [])
    done = CliRunner().invoke(main, ["ls", *arguments])
    assert (done.exit_code, done.stderr) == (7, f"regproxy: {said}\n")


@given(st.integers(-5, 1 << 40), st.integers(-5, 1 << 40), st.integers(1, 60))
def test_a_bar_is_full_where_all_is_there_only(part: int, whole: int, cells: int) -> None:
    drawn = bars.bar(part, whole, cells)
    assert len(drawn) == cells + 2
    assert set(drawn[1:-1]) <= {"#", "."}
    if whole > 0:
        assert ("." not in drawn) == (part >= whole)


@given(st.integers(1, 200))
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    found = {**JOB, "waits": "w" * 300, "present": "p" * 300, "failed": 3, "moved": 2, "state": "cancelled"}
    assert all(width_of(line) <= width for line in bars.picture(found, width))


@given(st.lists(st.text("abc/:é", min_size=1, max_size=3000), max_size=300))
def test_batches_are_all_names_and_small_enough(names: list[str]) -> None:
    found = list(batches(names))
    assert [name for batch in found for name in batch] == names
    assert all(len(batch) <= BATCH for batch in found)
    assert all(len(json.dumps(batch)) < 64 * 1024 - 2000 for batch in found)


def test_a_file_of_names_may_have_remarks() -> None:
    assert read_names(io.StringIO("# ours\n\n nginx:1.29 \nredis\n")) == ["nginx:1.29", "redis"]
    assert read_names(None) == []


@pytest.mark.parametrize("content", ["nginx\n" * (MAX_LINES + 1), "x" * 10_000_000])
def test_a_file_that_is_too_long_is_refused_not_cut(content: str) -> None:
    with pytest.raises(click.UsageError, match="more than 100000 lines"):
        read_names(io.StringIO(content))
    assert len(read_names(io.StringIO("nginx\n" * MAX_LINES))) == MAX_LINES


@given(st.dictionaries(st.sampled_from([*JOB, "count", "listed", "dry_run"]), anything))
def test_any_end_of_a_job_is_told_or_not_understood(found: dict[str, Any]) -> None:
    with suppress(AskFailed):
        warm_verb.Show(False).end({**JOB, **found})


@pytest.mark.parametrize("verb", ["warm", "refresh"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_where_no_daemon_runs_a_dry_run_makes_no_room(
    verb: str, dry_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing will come, so that nothing may be evicted for it."""
    asked: list[bool] = []

    def by_hand(talk: Any, *_: Any, fetches: bool) -> list[dict[str, Any]]:
        asked.append(fetches)
        return [{"count": 1}]

    monkeypatch.setattr(warm_verb, "by_hand", by_hand)
    done = CliRunner().invoke(main, [verb, "nginx", *(["-n"] if dry_run else [])])
    assert (done.exit_code, asked) == (0, [not dry_run])


class Daemon:
    """Has a job, which is over after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.asked: list[Any] = []

    def ask(self, action: str, body: Any) -> dict[str, Any]:
        self.asked.append((action, dict(body)))
        self.looks -= 1
        return {**JOB, "state": "running" if self.looks >= 0 else "done"}


def test_a_job_is_followed_to_its_end() -> None:
    daemon, shown, slept = Daemon(3), [], []
    found = follow(daemon.ask, {"job": 1}, shown.append, slept.append)
    assert (found["state"], len(shown), len(slept)) == ("done", 3, 3)
    assert follow(daemon.ask, {"job": None, "count": 0}, shown.append, slept.append)["count"] == 0


def test_an_interrupt_ends_the_job_too() -> None:
    daemon = Daemon(10)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(daemon.ask, {"job": 1}, lambda found: None, interrupted)
    assert daemon.asked[-1] == ("job", {"job": 1, "cancel": True})


@pytest.mark.parametrize("verb", ["ls", "du", "inspect", "pin", "unpin", "purge", "warm", "refresh"])
def test_each_verb_says_what_its_codes_mean(verb: str) -> None:
    found = CliRunner().invoke(main, [verb, "--help"])
    assert found.exit_code == 0
    assert "Exit codes:" in found.output
    assert all(option in found.output for option in ("--json", "--admin", "--config", "--token-file"))
    nothing = " 7 " in found.output.partition("Exit codes:")[2]
    assert nothing is (verb != "warm"), "that nothing of it is there; what is to come has no such code"
    changes = verb not in ("ls", "du", "inspect")
    assert ("--dry-run" in found.output) is changes


def test_a_folder_of_somebody_else_is_not_said_to_be_locked(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "regproxy.yml"
    settings.write_text(f'{{storage: {{root: "{tmp_path}"}}, admin: ["unix:{tmp_path}/no.sock"]}}')
    (tmp_path / "VERSION").write_text("regproxy storage 1\n")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    for arguments in (["ls"], ["purge", "nginx"]):
        found = CliRunner(env={"REGPROXY_CONFIG": str(settings)}).invoke(main, arguments)
        assert found.exit_code == 3
        assert "do this as that user" in found.stderr
        assert found.stderr.count("\n") == 1


def test_without_daemon_and_folder_nothing_is_made(tmp_path: Any) -> None:
    settings = tmp_path / "regproxy.yml"
    settings.write_text(f'{{storage: {{root: "{tmp_path}/no"}}, admin: ["unix:{tmp_path}/no.sock"]}}')
    found = CliRunner(env={"REGPROXY_CONFIG": str(settings)}).invoke(main, ["ls"])
    assert found.exit_code == 3
    assert "there is no storage folder" in found.stderr
    assert not (tmp_path / "no").exists()
    assert isinstance(main, click.Group)


@pytest.mark.parametrize(
    "words", [["ls"], ["pin", "nginx:1"], ["purge", "nginx"], ["warm", "nginx"], ["scrub", "--now"]]
)
def test_no_verb_writes_what_the_daemon_could_not_read(tmp_path: Path, words: list[str]) -> None:
    """Root's files in the folder of its user: not those of a pin, nor the record of a scrub."""
    if os.geteuid():
        pytest.skip("only root gives files away")
    root = tmp_path / "root"
    root.mkdir()
    (root / "VERSION").write_text("regproxy 1\n")
    os.chown(root, 12345, 12345)
    settings = {"admin": [f"unix:{tmp_path}/none"], "storage": {"root": str(root)}}
    (tmp_path / "regproxy.yml").write_text(json.dumps(settings))
    done = CliRunner(env={"REGPROXY_CONFIG": str(tmp_path / "regproxy.yml")}).invoke(main, words)
    assert done.exit_code in (3, 8)
    assert "belongs to #12345: do this as that user" in done.output
    assert [path.name for path in root.iterdir()] == ["VERSION"]


def test_a_name_that_is_none_is_told_before_anything_is_fetched() -> None:
    asked: list[Any] = []

    def ask(action: str, body: Any) -> dict[str, Any]:
        asked.append(body["dry_run"])
        if "rub bish" in body["images"]:
            raise AskFailed("name 2 of the list: no name", 2)
        return {"job": None}

    orders = [{"images": ["a"] * 3, "dry_run": False}, {"images": ["b", "rub bish"], "dry_run": False}]
    with pytest.raises(AskFailed, match="of names 4 to 5, name 2 of the list: no name"):
        check(ask, orders)
    assert asked == [True, True]


def test_a_warm_whose_list_has_rubbish_begins_no_job(tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("\n".join(["rub bish"] + ["nginx"] * BATCH))
    asked: list[Any] = []

    def handle(connection: socket.socket) -> None:
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
        while len(body) < int(head.lower().partition(b"content-length: ")[2].split()[0]):
            body += connection.recv(65536)
        asked.append(json.loads(body))
        content = b'{"error": "name 1 of the list: none"}'
        connection.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))

    with serving(handle) as address:
        done = CliRunner().invoke(main, ["warm", "--from", str(names), "--admin", f"http://{address.netloc}"])
    assert done.exit_code == 2
    assert f"of names 1 to {BATCH}, " in done.output
    assert "name 1 of the list" in done.output
    assert [body["dry_run"] for body in asked] == [True]


def test_a_list_without_a_name_is_told(tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("# nothing yet\n\n")
    done = CliRunner().invoke(main, ["warm", "--from", str(names)])
    assert done.exit_code == 2
    assert "the file of --from names no image" in done.output
    assert "name an image" in CliRunner().invoke(main, ["warm"]).output


def test_a_warm_that_is_terminated_ends_its_job_too(tmp_path: Path) -> None:
    """As by Ctrl-C: nobody looks at it any more."""

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # else it would end the tests
            os.kill(os.getpid(), signal.SIGTERM)
            connection.recv(1)

    with serving(handle) as address:
        done = CliRunner().invoke(main, ["warm", "nginx", "--admin", f"http://{address.netloc}"])
    assert (done.exit_code, "interrupted" in done.output) == (130, True)
