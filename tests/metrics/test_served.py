"""What clients were given, as the figures tell it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.metrics.figures import Figures
from regproxy.metrics.words import HOWS, METHODS, STATUSES, TYPES, one_of, status_word

UPSTREAMS = ("docker.io", "quay.io")


def answer(
    figures: Figures,
    kind: str | None = "blob",
    how: str | None = "hit",
    sent_bytes: int = 0,
    method: str = "GET",
    status: int = 200,
    upstream: str | None = "docker.io",
    complete: bool = True,
) -> None:
    figures.served(kind, method, status, how, upstream, sent_bytes, complete)


def value(figures: Figures, name: str, **labels: str) -> float | None:
    return figures.registry.get_sample_value(name, labels)


@pytest.mark.parametrize("name", ["requests", "hits", "misses", "pulled_bytes", "pushed_bytes"])
@pytest.mark.parametrize("kind", ["blob", "manifest"])
def test_distributions_series_are_there_from_the_start(name: str, kind: str) -> None:
    """So that a rate over a restart has a first value."""
    assert value(Figures(), f"registry_proxy_{name}_total", type=kind) == 0


@pytest.mark.parametrize(
    ("how", "hits", "misses"),
    [
        ("hit", 1, 0),
        ("joined", 1, 0),
        ("revalidated", 1, 0),
        ("stale", 1, 0),
        ("miss", 0, 1),
        ("denied", 0, 0),
        (None, 0, 0),
    ],
)
@pytest.mark.parametrize("kind", ["blob", "manifest"])
def test_what_is_a_hit(kind: str, how: str | None, hits: int, misses: int) -> None:
    """A miss is a request that content was fetched for; a refusal is neither."""
    figures = Figures(UPSTREAMS)
    answer(figures, kind, how, 10)
    counted = [
        value(figures, f"registry_proxy_{name}_total", type=kind) for name in ("requests", "hits", "misses")
    ]
    assert counted == [1, hits, misses]
    assert value(figures, "regproxy_answers_total", type=kind, how=how or "none") == 1


def test_bytes_are_those_that_went_out() -> None:
    figures = Figures(UPSTREAMS)
    answer(figures, "blob", "miss", 1000)
    answer(figures, "blob", "hit", 400, complete=False)
    answer(figures, "blob", "hit", 0, method="HEAD")
    answer(figures, "blob", None, 0, status=499, complete=False)
    answer(figures, "blob", None, 182, status=502)
    answer(figures, "manifest", "hit", 7)
    answer(figures, "tags", "miss", 5000)
    assert value(figures, "registry_proxy_pushed_bytes_total", type="blob") == 1400
    assert value(figures, "registry_proxy_pushed_bytes_total", type="manifest") == 7
    assert value(figures, "registry_proxy_pushed_bytes_total", type="tags") is None
    assert value(figures, "regproxy_cut_answers_total", type="blob") == 1
    assert value(figures, "regproxy_cut_answers_total", type="manifest") == 0
    assert value(figures, "regproxy_responses_total", type="blob", method="HEAD", status="200") == 1


def test_stale_answers_by_upstream() -> None:
    figures = Figures(UPSTREAMS)
    answer(figures, "manifest", "stale", upstream="quay.io")
    answer(figures, "tags", "stale", upstream="quay.io")
    answer(figures, "manifest", "stale", upstream="elsewhere.example")
    answer(figures, "manifest", "hit", upstream="quay.io")
    assert value(figures, "regproxy_stale_served_total", upstream="quay.io") == 2
    assert value(figures, "regproxy_stale_served_total", upstream="docker.io") == 0
    assert value(figures, "regproxy_stale_served_total", upstream="elsewhere.example") is None


@given(st.lists(st.tuples(st.text(), st.integers(-1, 10_000), st.text(), st.text(), st.text()), max_size=50))
def test_nobody_can_make_a_series(asked: list[tuple[str, int, str, str, str]]) -> None:
    figures = Figures(UPSTREAMS)
    for method, status, kind, how, upstream in asked:
        answer(figures, kind, how, 1, method, status, upstream)
    labels = [
        sample.labels
        for family in figures.registry.collect()
        if family.name.startswith(("regproxy_responses", "regproxy_answers", "regproxy_stale"))
        for sample in family.samples
    ]
    allowed = {"type": TYPES, "method": METHODS, "status": STATUSES, "how": HOWS, "upstream": UPSTREAMS}
    assert all(word in allowed[name] for each in labels for name, word in each.items())
    counted = [
        sample.value
        for family in figures.registry.collect()
        if family.name == "regproxy_responses"
        for sample in family.samples
    ]
    assert sum(counted) == len(asked)


def test_memory_does_not_grow_with_what_clients_say() -> None:
    figures = Figures(UPSTREAMS)
    for number in range(1000):
        answer(figures, "other", None, method=f"M{number}", status=number)
    assert len(figures._served._by_asked) < 2 * len(STATUSES)
    assert len(figures._served._tallies) < 2 * len(STATUSES)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (0, "none"),
        (200, "200"),
        (404, "404"),
        (418, "4xx"),
        (511, "5xx"),
        (600, "other"),
        (-1, "other"),
        (99, "other"),
    ],
)
def test_statuses_are_words(status: int, word: str) -> None:
    assert status_word(status) == word
    assert word in STATUSES


def test_other_words_are_the_last_one() -> None:
    assert one_of(METHODS, "BREW") == "other"
    assert one_of(HOWS, None) == "none"
