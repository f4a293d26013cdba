"""What upstreams were asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.metrics.figures import Figures
from regproxy.metrics.tags import OUTCOMES
from regproxy.metrics.upstreams import TOKEN_OUTCOMES, UpstreamFigures
from regproxy.metrics.words import KINDS, STATUSES


def value(figures: Figures, name: str, **labels: str) -> float | None:
    return figures.registry.get_sample_value(name, labels)


def test_requests_by_status_and_their_time() -> None:
    figures = Figures(["a"])
    upstream = figures.upstream("a")
    upstream.answered("GET", "blob", 200, 0.03)
    upstream.answered("GET", "blob", 200, 0.2)
    upstream.answered("GET", "blob", 502, 0.01)
    upstream.unanswered("GET", "blob")
    requests = {
        status: value(
            figures,
            "regproxy_upstream_requests_total",
            upstream="a",
            method="GET",
            kind="blob",
            status=status,
        )
        for status in ("200", "502", "none")
    }
    assert requests == {"200": 2, "502": 1, "none": 1}
    seconds = "regproxy_upstream_request_seconds"
    assert value(figures, f"{seconds}_count", upstream="a", kind="blob") == 3
    assert value(figures, f"{seconds}_bucket", upstream="a", kind="blob", le="0.05") == 2


def test_a_clock_that_was_set_back_takes_nothing_away() -> None:
    figures = Figures(["a"])
    figures.upstream("a").answered("GET", "blob", 200, -3600.0)
    assert value(figures, "regproxy_upstream_request_seconds_sum", upstream="a", kind="blob") == 0
    assert value(figures, "regproxy_upstream_request_seconds_count", upstream="a", kind="blob") == 1


def test_pulled_bytes_are_those_of_all_upstreams() -> None:
    figures = Figures(["a", "b"])
    figures.upstream("a").received("blob", 100)
    figures.upstream("b").received("blob", 20)
    figures.upstream("b").received("token", 3)
    assert value(figures, "registry_proxy_pulled_bytes_total", type="blob") == 120
    assert value(figures, "regproxy_upstream_received_bytes_total", upstream="b", kind="token") == 3
    assert value(figures, "registry_proxy_pulled_bytes_total", type="token") is None


def test_a_limit_is_there_from_the_start() -> None:
    """Prometheus sees no increase in a series that is born with its first one."""
    figures = Figures(["a.example"])
    labels = {"upstream": "a.example", "method": "GET", "kind": "manifest", "status": "429"}
    assert figures.registry.get_sample_value("regproxy_upstream_requests_total", labels) == 0


def test_every_outcome_is_there_from_the_start() -> None:
    figures = Figures(["a"])
    upstream = figures.upstream("a")
    for outcome in TOKEN_OUTCOMES:
        assert value(figures, "regproxy_tokens_total", upstream="a", outcome=outcome) == 0
        upstream.token(outcome)
        assert value(figures, "regproxy_tokens_total", upstream="a", outcome=outcome) == 1
    for outcome in OUTCOMES:
        assert value(figures, "regproxy_revalidations_total", upstream="a", outcome=outcome) == 0
        figures.tags.revalidated("a", outcome)
        assert value(figures, "regproxy_revalidations_total", upstream="a", outcome=outcome) == 1


@given(st.lists(st.integers(0, 100_000), max_size=100))
def test_an_upstream_makes_no_series_by_its_statuses(statuses: list[int]) -> None:
    figures = Figures(["a"])
    for status in statuses:
        figures.upstream("a").answered("GET", "blob", status, 0.1)
    (family,) = [each for each in figures.registry.collect() if each.name == "regproxy_upstream_requests"]
    assert {sample.labels["status"] for sample in family.samples} <= set(STATUSES)
    assert sum(sample.value for sample in family.samples) == len(statuses)


def test_figures_apart_are_nobodys() -> None:
    figures = Figures(["a"])
    UpstreamFigures.apart("a").received("blob", 100)
    assert value(figures, "registry_proxy_pulled_bytes_total", type="blob") == 0
    assert "a" in repr(figures.upstream("a"))
    assert set(KINDS) >= {"blob", "manifest", "tags", "base", "token"}
