"""What is left of rate limits, as figures."""

from __future__ import annotations

import math

from regproxy.gauges import show_limits
from regproxy.interfaces import Allowance, Thrift
from regproxy.metrics.figures import Figures


def test_each_upstream_has_its_own() -> None:
    """NaN for what nobody told; read when somebody asks."""
    known = Allowance(Thrift.STALE, 100, 17, 21600.0, 5.0, None, 2.5)
    allowances = {"docker.io": known, "ghcr.io": Allowance()}
    figures = Figures(allowances)
    show_limits(figures, {name: lambda name=name: allowances[name] for name in allowances})

    def value(what: str, upstream: str) -> float | None:
        return figures.registry.get_sample_value(f"regproxy_upstream_{what}", {"upstream": upstream})

    found = [value(what, "docker.io") for what in ("limit", "remaining", "hours_left", "thrift")]
    assert found == [100, 17, 2.5, 2]
    for what in ("limit", "remaining", "hours_left"):
        assert math.isnan(value(what, "ghcr.io") or 0.0)
    assert value("thrift", "ghcr.io") == 0
    allowances["docker.io"] = Allowance(Thrift.EMPTY, 100, 0)
    assert value("remaining", "docker.io") == 0
