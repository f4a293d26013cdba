"""Showing again and again: when, what of trouble, and how it ends."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from regproxy.cli.asking import NOBODY, STRANGE, AskFailed
from regproxy.cli.screen import Plain
from regproxy.cli.watching import JsonLines, Pictures, Show, keep_watching
from tests.cli.pages import full


class Time:
    """A clock that sleeping moves, and that stops everything after some sleeps."""

    def __init__(self, sleeps: int, ask_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []
        self._sleeps = sleeps
        self._ask_s = ask_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        if len(self.slept) == self._sleeps:
            raise KeyboardInterrupt

    def asking(self, *answers: dict[str, Any] | Exception) -> Callable[[], dict[str, Any]]:
        waiting = list(answers)

        def ask() -> dict[str, Any]:
            self.now_s += self._ask_s
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask


def watch(time: Time, show: Show, interval_s: float, *answers: dict[str, Any] | Exception) -> None:
    keep_watching(time.asking(*answers), show, interval_s, lambda: time.now_s, time.sleep)


GONE = AskFailed("a.sock: no daemon there (No such file or directory)", NOBODY)


def test_a_line_of_json_each_time_and_trouble_elsewhere() -> None:
    out, err = io.StringIO(), io.StringIO()
    hostile = full(daemon={"version": "\x1b[2J\x9b\x7f"})
    watch(Time(3), JsonLines(out, err), 1.0, full(), GONE, hostile)
    first, second = out.getvalue().splitlines()
    assert json.loads(first) == full()
    assert json.loads(second) == hostile
    assert all(" " <= sign <= "~" for sign in second)
    assert err.getvalue() == f"regproxy: {GONE}\n"


def test_a_block_each_time_with_rates_between() -> None:
    out = io.StringIO()
    later = full()
    later["daemon"]["uptime_s"] += 2.0
    later["fills"]["listed"][0]["front_bytes"] += 20 << 20
    watch(Time(2), Pictures(out, Plain(out), {}), 2.0, full(), later)
    before, after = (block for block in out.getvalue().split("\n\nregproxy"))
    assert "3.00 MiB/s  13s left" in before
    assert "10.0 MiB/s  2s left" in after


def test_a_daemon_that_goes_is_waited_for() -> None:
    out = io.StringIO()
    watch(Time(3), Pictures(out, Plain(out), {"COLUMNS": "30"}), 1.0, full(), GONE, full())
    assert out.getvalue().count("regproxy 1.2.3") == 2
    assert "\n\nregproxy: a.sock: no daemon th\nere (No such file or directory\n)\n\n" in out.getvalue()


def test_one_that_is_not_there_at_first_ends_it() -> None:
    for show in (JsonLines(io.StringIO(), io.StringIO()), Pictures(io.StringIO(), Plain(io.StringIO()), {})):
        with pytest.raises(AskFailed, match="no daemon there"):
            watch(Time(1), show, 1.0, GONE)


def test_a_page_of_another_version_is_trouble_for_people_only() -> None:
    out = io.StringIO()
    watch(Time(1), JsonLines(out, out), 1.0, full(version=2))
    assert json.loads(out.getvalue())["version"] == 2
    with pytest.raises(AskFailed, match="not of version 1") as failed:
        watch(Time(1), Pictures(out, Plain(out), {}), 1.0, full(version=2))
    assert failed.value.code == STRANGE


def test_the_time_that_asking_takes_is_part_of_the_interval() -> None:
    time = Time(2, ask_s=0.25)
    watch(time, JsonLines(io.StringIO(), io.StringIO()), 1.0, full(), full())
    assert time.slept == [0.75, 0.75]


def test_asking_that_takes_longer_is_followed_by_the_next_at_once() -> None:
    time = Time(2, ask_s=5.0)
    watch(time, JsonLines(io.StringIO(), io.StringIO()), 1.0, full(), full())
    assert time.slept == [0.0, 0.0]


def test_ctrl_c_while_asking_ends_it_as_well() -> None:
    def ask() -> dict[str, Any]:
        raise KeyboardInterrupt

    keep_watching(ask, JsonLines(io.StringIO(), io.StringIO()), 1.0, lambda: 0.0, lambda _: None)
