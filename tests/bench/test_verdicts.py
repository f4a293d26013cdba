"""What a soak is judged by can fail: each excuse is a narrow one."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest

from bench.flawed import Fault
from bench.limit import MIB
from bench.soaked import Outcome, text_of
from bench.verdicts import (
    BROKE,
    LEAST_LOOKS,
    WRONG,
    Failure,
    Look,
    Stop,
    cause,
    inexcusable,
    longest_life,
    trends,
    wrongs,
)

LIMIT = 100 * MIB
PULL = Failure(("v1", "sha256:aa"), 1000.0, 1001.0, 502)
FLAT = [Look(float(at), 1, 100.0, 40, 9, LIMIT, MIB) for at in range(2 * LEAST_LOOKS)]


def fault(target: str, began_s: float, kind: str = "500") -> Fault:
    return Fault(kind, target, began_s, began_s + 0.1)


@pytest.mark.parametrize(
    ("failure", "faults", "expected"),
    [
        (PULL, [], None),
        (PULL, [fault("v1", 1000.5)], "500"),
        (PULL, [fault("sha256:aa", 999.0, "cut")], "cut"),
        (PULL, [fault("sha256:bb", 1000.5)], None),
        (PULL, [fault("v1", 1001.5)], None),
        (PULL, [fault("v1", 900.0)], None),
        (attrs.evolve(PULL, status=503), [fault("v2", 990.0)], "503 without a question"),
        (attrs.evolve(PULL, status=429), [fault("v2", 990.0, "429")], "429 without a question"),
        (attrs.evolve(PULL, status=429), [fault("v2", 990.0, "500")], None),
        (attrs.evolve(PULL, status=503), [fault("v2", 900.0)], None),
        (attrs.evolve(PULL, status=503, said="the mirror's own store fails"), [fault("v1", 1000.5)], None),
        (attrs.evolve(PULL, status=BROKE), [fault("v2", 1000.5)], None),
        (attrs.evolve(PULL, status=BROKE), [Fault("refused", "", 980.0, 1000.5)], "refused"),
        (attrs.evolve(PULL, status=404), [fault("v1", 1000.5)], None),
        (attrs.evolve(PULL, status=WRONG), [fault("v1", 1000.5, "wrong bytes")], None),
    ],
)
def test_only_what_the_upstream_did_to_that_content_excuses(
    failure: Failure, faults: list[Fault], expected: str | None
) -> None:
    assert cause(failure, faults, []) == expected


@pytest.mark.parametrize(
    ("status", "stop", "expected"),
    [
        (BROKE, Stop("KILL", 1000.5, 1003.0), "stop"),
        (503, Stop("TERM", 999.0, 1000.1), "stop"),
        (BROKE, Stop("KILL", 990.0, 999.9), None),
        (BROKE, Stop("KILL", 1001.1, 1003.0), None),
        (502, Stop("KILL", 1000.5, 1003.0), None),
        (WRONG, Stop("KILL", 1000.5, 1003.0), None),
    ],
)
def test_a_stop_excuses_what_broke_while_it_lasted(status: int, stop: Stop, expected: str | None) -> None:
    assert cause(attrs.evolve(PULL, status=status), [], [stop]) == expected


def test_what_would_have_had_no_excuse_is_counted() -> None:
    assert inexcusable(PULL, [fault("v1", 900.0)], [])
    assert not inexcusable(PULL, [fault("v2", 990.0)], [])
    assert not inexcusable(PULL, [], [Stop("KILL", 1000.5, 1003.0)])


def test_a_calm_run_holds() -> None:
    assert wrongs([], [], [], FLAT, LIMIT) == []


def test_a_pull_that_nobody_made_fail_is_told_with_what_came() -> None:
    found = wrongs([attrs.evolve(PULL, said="why")], [], [], FLAT, LIMIT)
    assert found == ["a failed pull that neither the upstream nor a stop made: v1: 502 why"]


def test_a_disk_above_its_limit() -> None:
    over = [*FLAT, attrs.evolve(FLAT[0], held_bytes=LIMIT + 4096)]
    assert wrongs([], [], [], over, LIMIT) == [
        "the disk was 4096 bytes above its limit and what is in flight"
    ]


@pytest.mark.parametrize(
    ("name", "what", "step"),
    [("memory_mib", "memory", 0.5), ("open_files", "open files", 1), ("threads", "threads", 1)],
)
def test_what_grows_within_a_life(name: str, what: str, step: float) -> None:
    grown = [
        attrs.evolve(look, **{name: getattr(look, name) + step * number}) for number, look in enumerate(FLAT)
    ]
    (told,) = wrongs([], [], [], grown, LIMIT)
    assert told.startswith(f"{what} grew from ")


def test_growth_over_short_lives_is_not_seen_and_that_is_said() -> None:
    lives = [attrs.evolve(look, life=number // 20) for number, look in enumerate(FLAT)]
    (told,) = wrongs([], [], [], lives, LIMIT)
    assert "too short" in told
    assert len(wrongs([], [], [], [], LIMIT)) == 1


def test_the_longest_life_counts() -> None:
    first = [attrs.evolve(look, life=0, memory_mib=10.0 * number) for number, look in enumerate(FLAT[:30])]
    assert longest_life([*first, *FLAT]) == FLAT
    assert trends([*first, *FLAT])["memory"] == (100.0, 100.0)


def test_what_is_told() -> None:
    outcome = Outcome(
        LIMIT,
        60.0,
        [attrs.evolve(PULL, status=200), PULL, attrs.evolve(PULL, targets=("v9",))],
        8 * MIB,
        2 * MIB,
        [Stop("KILL", 5.0, 6.0)],
        [fault("v1", 1000.5, "reset")],
        FLAT,
        counts=Counter({"blobs expired": 5, "images evicted": 3}),
    )
    said = text_of(outcome)
    assert "| pulls | 3 |" in said
    assert "| failed pulls that these made | 1 reset |" in said
    assert "| **failed pulls that neither made** | **1** |" in said
    assert "| kills and stops | 1 KILL |" in said
    assert "| most on the disk, MiB | 100.0 |" in said
    assert "| its memory, second and last quarter | 100.0, 100.0 |" in said
    assert "| removed | 5 blobs expired, 3 images evicted |" in said
    assert len(outcome.wrongs()) == 1
    assert attrs.evolve(outcome, counts=Counter({"images evicted": 3})).wrongs()[1:] == [
        "no blobs expired: nothing was shown"
    ]
    assert attrs.evolve(outcome, tracebacks=2).wrongs()[1:] == ["the logs have 2 tracebacks"]
    assert attrs.evolve(outcome, scrubs=[0, 8]).wrongs()[1:] == ["a scrub found bad blobs"]
