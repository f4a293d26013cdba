"""The measurement of a full folder, with a small one; and what it counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.crowd import DUE, Crowd
from bench.turns import STARTING, Cores, Phase, Turns
from regproxy.expiry.lines import parse_line

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.system
def test_a_small_folder(tmp_path: Path) -> None:
    """All starts, what was due and what was too much is gone, and nothing is left but the report."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    arguments = ["--entries", "1000", "--repositories", "20", "--due", "100", "--limit", "60"]
    ended = subprocess.run(
        [sys.executable, "-m", "bench.scale", *arguments, "--output", str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    first, second, third, fourth, fifth = json.loads((tmp_path / "out" / "scale.json").read_text())["runs"]
    assert {"starting", "loading", "survey", "saving", "stopping"} <= set(first["phases"])
    assert "removing" in second["phases"]
    assert {"ls", "du", "/status", "inspect"} <= set(third["phases"])
    assert set(third["asked_s"]) == {"ls", "du", "status", "inspect", "purge --dry-run"}
    assert {"ls", "du", "/status", "scrub"} <= set(fourth["phases"])
    assert set(fourth["asked_s"]) == {"ls, scrub", "du, scrub", "status, scrub"}
    assert fourth["scrubbed_s"] > 0
    assert third["listed"] == 20 * 4  # 45 entries in each repository, 12 of an image
    assert "evicting" in fifth["phases"]
    assert fifth["evicted_s"] > 0
    assert not second["expired_in_survey"]
    assert second["asked"] > 0
    # Both are looked for by polls: of 1000 entries the survey may be seen before the answer is.
    assert first["first_answer_s"] > 0
    assert first["surveyed_s"] > 0
    assert (tmp_path / "out" / "scale.md").read_text() in ended.stdout
    assert not list(temporary.iterdir())


def test_a_crowd_is_what_it_says(tmp_path: Path) -> None:
    """As many records as entries, each with its line."""
    crowd = Crowd(tmp_path / "data", 300, 10, 50)
    crowd.make()
    crowd.write_state(1_800_000_000.0, 1_800_000_100.0)
    records = [path for path in (crowd.root / "repositories").rglob("*/*/*/*") if path.is_file()]
    assert len(records) == 300
    assert crowd.left_of_due() == 50
    state = crowd.root / "scheduler-state.json"
    assert len(json.loads(state.read_bytes())["entries"]) == 300
    keys = [line.key for text in state.read_bytes().split(b"\n")[1:301] if (line := parse_line(text))]
    assert sum(key.startswith(f"{DUE}/") for key in keys) == 50
    crowd.write_state(1_800_000_000.0, 1_800_000_100.0, whole=False)
    assert not state.read_bytes().endswith(b"}}\n")


class Poller:
    """Waits for nothing."""

    def __init__(self) -> None:
        self.polled: list[Any] = []

    def poll(self, *arguments: Any) -> str:
        self.polled.append(arguments)
        return "events"

    def register(self) -> str:
        return "registered"


def test_turns_are_booked_under_what_ran(tmp_path: Path) -> None:
    """Also under what began and ended within one; the rest of the poller is as it was."""
    turns = Turns(Poller(), tmp_path / "events", lambda: 0.0)
    turns.begin("loading")
    assert turns.poll(0.5, 7) == "events"
    turns.begin("saving")
    turns.end("saving")
    turns.poll(0)
    turns.end("loading")
    turns.poll(0)
    turns.poll(0)
    turns.report()
    assert {name: phase.turns for name, phase in turns.phases.items()} == {
        STARTING: 1, "loading": 2, "saving": 1, "serving": 1,
    }  # fmt: skip
    assert turns.register() == "registered"
    told = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [(one["name"], one["what"]) for one in told[:-1]] == [
        ("loading", "begins"), ("saving", "begins"), ("saving", "ends"), ("loading", "ends"),
    ]  # fmt: skip
    assert set(told[-1]["phases"]) == {STARTING, "loading", "saving", "serving"}
    turns.close()


def test_a_turn_is_held_without_the_time_that_it_had_no_core() -> None:
    """By work of its own, or by what it waits for: not by other programs."""
    phase = Phase()
    phase.book(0.030, 0.028, 0.001)
    assert (phase.over_5_ms, phase.longest_s) == (0, 0.030)
    phase.book(0.030, 0.009, 0.001)
    phase.book(0.004, 0.0, 0.021)
    assert (phase.over_5_ms, phase.over_20_ms) == (2, 2)
    assert phase.longest_held_s == pytest.approx(0.021)


def test_what_the_kernel_says_of_waiting(tmp_path: Path) -> None:
    """Nanoseconds in the second place; nothing where it says nothing."""
    said = tmp_path / "schedstat"
    said.write_text("502786 1500000000 1\n")
    cores = Cores(str(said))
    assert cores.waited_s() == 1.5
    cores.close()
    assert cores.waited_s() == 0.0
    assert Cores(str(tmp_path / "none")).waited_s() == 0.0
