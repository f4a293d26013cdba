"""How late the reactor is."""

from __future__ import annotations

from twisted.internet.task import Clock

from regproxy.metrics.figures import Figures
from regproxy.metrics.lag import EVERY_S, LagMeter


def test_it_tells_how_late_each_look_was() -> None:
    clock, held_s, seen = Clock(), [0.0], []
    meter = LagMeter(clock, lambda: clock.seconds() + held_s[0], seen.append)
    meter.start()
    clock.advance(EVERY_S)
    held_s[0] += 0.5
    clock.advance(EVERY_S)
    clock.advance(EVERY_S)
    meter.stop()
    meter.stop()
    clock.advance(10)
    assert [round(each, 6) for each in seen] == [0.0, 0.5, 0.0]
    assert not clock.getDelayedCalls()


def test_a_look_that_came_early_is_not_late() -> None:
    """The reactor's own clock may be set forward."""
    clock, seen = Clock(), []
    meter = LagMeter(clock, lambda: 7.0, seen.append)
    meter.start()
    clock.advance(EVERY_S)
    meter.stop()
    assert seen == [0.0]


def test_figures_keep_the_last_and_all() -> None:
    figures = Figures()
    for seconds in (0.3, 0.004):
        figures.late(seconds)
    assert figures.registry.get_sample_value("regproxy_reactor_lag_seconds") == 0.004
    assert figures.registry.get_sample_value("regproxy_reactor_late_seconds_count") == 2
    assert figures.registry.get_sample_value("regproxy_reactor_late_seconds_bucket", {"le": "0.02"}) == 1
