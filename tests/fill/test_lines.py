"""What is known of an upstream's connections, and for how long."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from regproxy.fill.lines import QUIET_S, REFUSED_S, REMEMBER_S, Lines
from regproxy.settings import FillSettings

HERE, THERE = "a.test", "b.test"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(clock):
    return Lines(clock, FillSettings(connections_per_blob=4, connections_per_upstream=4))


def test_first_connections_are_never_refused_and_count_for_the_others(lines):
    for _ in range(4):
        lines.first(HERE)
    assert not lines.another(HERE)
    lines.first(HERE)
    assert (lines.within(HERE), lines.within(THERE)) == (False, True)
    for _ in range(2):
        lines.close(HERE)
    assert lines.another(HERE)
    assert not lines.another(HERE)


def test_what_serves_no_ranges_is_tried_again_after_a_while(lines, clock):
    lines.refuse(HERE)
    assert (lines.most(HERE), lines.most(THERE)) == (1, 4)
    clock.advance(REFUSED_S - 1)
    assert lines.refused(HERE)
    clock.advance(1)
    assert not lines.refused(HERE)
    assert lines.most(HERE) == 4


def test_what_was_worth_it_is_forgotten_after_a_while(lines, clock):
    assert lines.worth(HERE) is None
    lines.learn(HERE, 3, 1000.0)
    clock.advance(REMEMBER_S - 1)
    assert lines.worth(HERE) == (3, 1000.0)
    lines.refuse(HERE)
    assert lines.worth(HERE) == (1, 1000.0)
    clock.advance(1)
    assert lines.worth(HERE) is None


@pytest.mark.parametrize(("wish_s", "quiet_s"), [(None, QUIET_S), (7, 7)])
def test_an_upstream_is_left_alone_as_long_as_it_wants(lines, clock, wish_s, quiet_s):
    lines.leave_alone(HERE, wish_s)
    clock.advance(quiet_s - 1)
    assert not lines.another(HERE)
    assert not lines.quiet(HERE, 0)
    assert lines.another(THERE)
    clock.advance(1)
    assert lines.quiet(HERE, 0)
    assert lines.another(HERE)


def test_half_of_the_limit_is_for_what_nobody_waits_for(lines):
    assert [lines.quiet(HERE, ahead) for ahead in range(4)] == [True, True, False, False]
    for _ in range(4):
        lines.first(HERE)
    assert not lines.quiet(HERE, 0)


def test_what_one_endpoint_does_not_serve_another_may(lines):
    lines.refuse(f"https://one.{HERE}")
    assert lines.refused(f"https://one.{HERE}")
    assert not lines.refused(f"https://two.{HERE}")
    assert lines.most(HERE) == 4
