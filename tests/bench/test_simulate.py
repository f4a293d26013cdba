"""A day of a cluster in simulated time: what the mirror promises about Docker Hub's limit (P4, R91)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from bench.simulate import ABOVE, WITHIN, EveryPullDay, Figures, MirrorDay, Trace, keeps, main, table
from regproxy.interfaces import Thrift

ROOT = Path(__file__).resolve().parent.parent.parent
NODES = 10
"""All that happens by the images happens; fewer nodes pull each."""


def small(trace: Trace, **more: int) -> Trace:
    return attrs.evolve(trace, nodes=NODES, **more)


def test_the_traces_are_what_was_asked_for() -> None:
    """200 nodes, 50 images, 100 GETs in six hours, of which at most 40 changes bring a new digest."""
    assert (WITHIN.nodes, WITHIN.images, WITHIN.hours, WITHIN.changes) == (200, 50, 24, 40)
    assert (WITHIN.limit, WITHIN.window_s) == (100, 6 * 3600)
    assert 2 * ABOVE.changes + 2 * 6 * ABOVE.strangers > ABOVE.limit


@pytest.fixture(scope="module")
def within() -> Figures:
    return MirrorDay(small(WITHIN)).run()


@pytest.fixture(scope="module")
def above() -> Figures:
    return MirrorDay(small(ABOVE)).run()


def test_within_the_limit_nobody_is_refused(within: Figures) -> None:
    """And each new digest costs two GETs at most: an index and the manifest of one platform."""
    assert within.pulls == NODES * 50 * 24
    assert within.digests == 50 + 160
    assert (within.refused, within.refusals, within.failed) == (0, 0, 0)
    assert 300 < within.gets <= 2 * within.digests
    assert keeps(WITHIN, within)


def test_above_the_limit_what_is_cached_is_served(above: Figures) -> None:
    """What is not gets 429 with Retry-After within a second, almost always without a question."""
    assert above.gets > 400
    assert above.refused > 100
    assert (above.refused_cached, above.refused_silently, above.failed) == (0, 0, 0)
    assert 0 < above.slowest_refusal_s < 1.0
    assert above.refusals < above.refused / 10
    assert above.stale > 0
    assert above.most_sparing is Thrift.EMPTY
    assert keeps(ABOVE, above)


def test_some_that_are_not_cached_get_what_was_kept_for_them(above: Figures) -> None:
    """Of six unknown images an hour, each pulled three times by who is refused, not all are refused."""
    strangers = ABOVE.strangers * ABOVE.hours
    assert above.refused < 3 * strangers


def test_asking_at_every_pull_is_refused_all_day() -> None:
    """For images that are there."""
    found = EveryPullDay(small(WITHIN)).run()
    assert found.refused_cached > 0.9 * found.pulls
    assert not keeps(WITHIN, found)


def test_the_same_day_comes_to_the_same() -> None:
    trace = small(ABOVE, hours=3)
    assert MirrorDay(trace).run() == MirrorDay(trace).run()


@pytest.mark.parametrize(
    "broken",
    [{"refused_cached": 1}, {"refused_silently": 1}, {"failed": 1}, {"slowest_refusal_s": 1.0}],
)
def test_a_broken_promise_is_noticed(broken: dict[str, float]) -> None:
    assert keeps(ABOVE, Figures(refused=5))
    assert not keeps(ABOVE, Figures(refused=5, **broken))  # type: ignore[arg-type]
    assert not keeps(WITHIN, Figures(refused=1))
    assert not keeps(WITHIN, Figures(gets=5, digests=2))


def test_both_are_printed_beside_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "4", "--hours", "2"]) == 0
    printed = capsys.readouterr().out
    assert "within the limit: 4 nodes, 50 images, 2 h" in printed
    assert "above the limit" in printed
    row = next(line for line in printed.splitlines() if "answers 429 to nodes" in line)
    assert row.split()[-2] == "0"
    assert int(row.split()[-1].replace(",", "")) > 0
    assert "2,000" in table(WITHIN, Figures(pulls=2000), Figures())


def test_it_is_a_program() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "bench.simulate", "--nodes", "1", "--hours", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "every pull" in ended.stdout
