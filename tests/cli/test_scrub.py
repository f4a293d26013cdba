"""``regproxy scrub``: what is shown, what is followed, what each end means."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli import main
from regproxy.cli.asking import NOBODY, AskFailed
from regproxy.cli.document import Unreadable, read, read_scrub
from regproxy.cli.lines import painted
from regproxy.cli.picture import picture as picture_of
from regproxy.cli.scrub import MAX_SILENCE_S, follow, picture, progress
from tests.cli.pages import FULL

RUNNING: dict[str, Any] = {
    "every_s": 2592000.0,
    "full": True,
    "began_s": 5.0,
    "share": 0.5,
    "blobs": 3,
    "bytes": 3 << 30,
    "bad": 1,
    "total_bytes": 6 << 30,
    "last": {"began_s": 1.0, "ended_s": 2.0, "blobs": 6, "bytes": 60, "bad": 2, "full": False},
    "found": [{"digest": "sha256:ab\x1b[31m", "found_s": 6.0, "why": "wrong"}],
    "surveyed_s": 7.0,
}


def lines_of(found: dict[str, Any], now_s: float = 3609.0) -> list[str]:
    read = read_scrub({"scrub": found})
    assert read is not None
    return [painted(line, colours=False) for line in picture(read, now_s)]


def test_the_picture() -> None:
    assert lines_of(RUNNING) == [
        "scrub   a pass that was asked for: 50 % done, 3 blobs, 3.00 GiB, 1 bad",
        "last    ended 1h ago: 6 blobs, 60 B, 2 bad",
        "survey  ended 1h ago",
        "bad     sha256:ab?[31m wrong, 1h ago",
    ]


def test_the_picture_of_nothing_yet() -> None:
    found = RUNNING | {"every_s": None, "full": False, "share": None, "last": None, "found": []}
    assert lines_of(found | {"surveyed_s": None}) == [
        "scrub   only when asked for",
        "last    none has ended yet",
        "survey  ended never",
    ]


@given(st.floats(0, 1), st.integers(20, 300))
def test_the_bar_is_full_at_the_end_only(share: float, width: int) -> None:
    read = read_scrub({"scrub": RUNNING | {"share": share}})
    assert read is not None
    text = painted(progress(read, width), colours=False)
    bar = text[1 : text.index("]")]
    assert bar.count("#") + bar.count(".") == len(bar)
    assert ("." not in bar) == (share == 1)


@given(st.dictionaries(st.sampled_from(sorted(RUNNING)), st.none() | st.text(max_size=3) | st.integers()))
def test_any_answer_is_read_or_refused(wrong: dict[str, Any]) -> None:
    with suppress(Unreadable):
        read_scrub({"scrub": RUNNING | wrong})


def test_the_status_says_that_there_were_bad_ones() -> None:
    def told(found: dict[str, Any]) -> list[str]:
        page = attrs.evolve(read(FULL), scrub=read_scrub({"scrub": found}))
        return [line for line in (painted(each, False) for each in picture_of(page, {}, 80)) if "bad" in line]

    assert told(RUNNING) == ["1 bad blob found and set aside: regproxy scrub says which"]
    assert told(RUNNING | {"found": []}) == []


class Looks:
    """Answers, one after the other, a second apart."""

    def __init__(self, *answers: Any) -> None:
        self.answers: Iterator[Any] = iter(answers)
        self.now_s = 0.0
        self.steps: list[Any] = []

    def look(self) -> Any:
        answer = next(self.answers)
        if answer is None:
            raise AskFailed("no daemon there", NOBODY)
        return answer

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def follow(self) -> Any:
        return follow(self.look, self.steps.append, lambda: self.now_s, self.sleep)


def test_it_is_followed_to_its_end_over_a_restart() -> None:
    over = RUNNING | {"full": False}
    looks = Looks(RUNNING, None, None, RUNNING, over)
    assert looks.follow() == over
    assert len(looks.steps) == 2


def test_a_daemon_that_does_not_come_back() -> None:
    looks = Looks(RUNNING, *[None] * 1000)
    with pytest.raises(AskFailed):
        looks.follow()
    assert MAX_SILENCE_S <= looks.now_s <= MAX_SILENCE_S + 5


def test_no_daemon_and_no_folder(tmp_path: Path) -> None:
    settings = tmp_path / "regproxy.yml"
    settings.write_text(f'storage: {{root: "{tmp_path}/none"}}\nadmin: ["unix:{tmp_path}/admin.sock"]\n')
    done = CliRunner().invoke(main, ["scrub", "--now", "-c", str(settings)])
    assert done.exit_code == NOBODY
    assert "there is no storage folder" in done.output


def test_a_folder_that_another_process_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[tuple[str, ...]] = []
    monkeypatch.setattr(sys.modules["regproxy.cli.scrub"], "note", lambda *words: noted.append(words))
    from regproxy.storage.lock import FolderLock

    root = tmp_path / "content"
    root.mkdir()
    (root / "VERSION").write_text("regproxy storage 1\n")
    settings = tmp_path / "regproxy.yml"
    settings.write_text(f'storage: {{root: "{root}"}}\nadmin: ["unix:{tmp_path}/admin.sock"]\n')
    lock = FolderLock.take(root / "lock")
    done = CliRunner().invoke(main, ["scrub", "--now", "-c", str(settings)])
    lock.release()
    assert done.exit_code == 8
    assert "in use by process" in done.output
    done = CliRunner().invoke(main, ["scrub", "--json", "-c", str(settings)])
    assert json.loads(done.output)["last"] is None
    done = CliRunner().invoke(main, ["scrub", "--now", "-c", str(settings)])
    assert done.exit_code == 0
    assert "0 blobs" in done.output
    assert noted == [("scrub", "everything", "0 blobs, 0 bad")], "once for what was done, never for a look"
