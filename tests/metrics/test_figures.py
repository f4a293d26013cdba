"""The registry of one daemon's figures."""

from __future__ import annotations

import platform

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import twisted
from regproxy import __version__
from regproxy.metrics.figures import Figures, Reading


def test_two_daemons_in_a_process_count_apart() -> None:
    one, two = Figures(["a"]), Figures(["a"])
    one.expired("blob")
    assert two.registry.get_sample_value("regproxy_expired_total", {"kind": "blob"}) == 0
    assert one.registry is not REGISTRY


def test_what_runs() -> None:
    labels = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
    assert Figures().registry.get_sample_value("regproxy_build_info", labels) == 1


def test_the_process_is_told_of() -> None:
    registry = Figures().registry
    assert registry.get_sample_value("process_resident_memory_bytes")
    assert registry.get_sample_value("process_open_fds")


def test_no_series_about_series() -> None:
    """When each series began doubles their number, and nobody's dashboard reads it."""
    text = generate_latest(Figures(["a"]).registry).decode()
    assert "_created" not in text


def test_every_family_can_be_read_back() -> None:
    figures = Figures(["a"])
    figures.gauge("regproxy_x", "X.", lambda: 3.0)
    figures.gauges("regproxy_y", "Y.", "kind", {"blob": lambda: 1.0, "tag": lambda: 2.0})
    figures.counter("regproxy_z", "Z.", lambda: 4.0)
    read = {each.name for each in text_string_to_metric_families(generate_latest(figures.registry).decode())}
    assert read >= {
        "registry_proxy_requests",
        "regproxy_x",
        "regproxy_y",
        "regproxy_z",
        "regproxy_build_info",
    }
    assert figures.registry.get_sample_value("regproxy_y", {"kind": "tag"}) == 2
    assert figures.registry.get_sample_value("regproxy_z_total") == 4


def test_each_refusal_of_the_disk_by_its_reason() -> None:
    figures = Figures()
    for reason in ("full", "full", "read-only", "its head fell off"):
        figures.disk_refused(reason)
    counted = {
        reason: figures.registry.get_sample_value("regproxy_disk_refusals_total", {"reason": reason})
        for reason in ("full", "read-only", "other")
    }
    assert counted == {"full": 2, "read-only": 1, "other": 1}


def test_one_look_for_all_that_is_read_off_it() -> None:
    figures, looks = Figures(), iter([(1, 2), (3, 4)])
    figures.gauges_at_once(
        lambda: next(looks),
        Reading("x", "X.", lambda seen: seen[0]),
        Reading("y", "Y.", lambda seen: seen[1]),
    )
    for first, second in ((1, 2), (3, 4)):
        text = generate_latest(figures.registry).decode()
        assert f"\nx {first}.0\n" in text
        assert f"\ny {second}.0\n" in text
