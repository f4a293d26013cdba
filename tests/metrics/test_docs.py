"""docs/metrics.md says what there is, all of it, and nothing else."""

from __future__ import annotations

import errno
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
import yaml
from prometheus_client import CollectorRegistry
from twisted.internet import reactor

from regproxy import compose
from regproxy.gauges import show_readiness
from regproxy.metrics import words
from regproxy.metrics.figures import EXPIRED_KINDS, REFUSAL_REASONS, Figures
from regproxy.metrics.tags import OUTCOMES
from regproxy.metrics.upstreams import TOKEN_OUTCOMES
from regproxy.settings import Settings, StorageSettings, UpstreamSettings
from regproxy.storage.opening import open_store

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text("utf-8")
ROW = re.compile(
    r"^\| `(?P<name>\w+)` \| (?P<type>counter|gauge|histogram) \|(?P<labels>[^|]*)\| (?P<meaning>[^|]+) \|$"
)
NAME = re.compile(r"\b(?:regproxy|registry_proxy|process|python)_[a-z_]+\b")
UPSTREAM = "registry.test"


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels by name."""
    rows = [match for line in PAGE.splitlines() if (match := ROW.match(line))]
    found = {row["name"]: (row["type"], frozenset(re.findall(r"`(\w+)`", row["labels"]))) for row in rows}
    assert len(found) == len(rows), "a metric has two rows"
    return found


def served(figures: Figures) -> dict[str, tuple[str, frozenset[str]]]:
    """The same of the registry, each family with a series at least."""
    figures.served("blob", "GET", 200, "hit", UPSTREAM, 1, True)
    figures.upstream(UPSTREAM).answered("GET", "blob", 200, 0.1)
    figures.tags.answered(UPSTREAM, "*", "hit")
    found = {}
    for family in figures.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        assert family.samples, f"{name} has no series to look at"
        assert family.documentation
        found[name] = family.type, labels
    return found


@pytest_twisted.async_yield_fixture
async def mirror(tmp_path: Path) -> AsyncIterator[compose.Mirror]:
    """A whole one, that has not begun."""
    upstream = UpstreamSettings(UPSTREAM, ("http://127.0.0.1:1",), insecure=True)
    settings = Settings((), (), StorageSettings(tmp_path), (upstream,))
    store = open_store(tmp_path, reactor, lambda: 1_800_000_000.0)
    mirror = compose.build_mirror(settings, store, reactor, lambda: 1_800_000_000.0, None)
    show_readiness(mirror.figures, mirror.reasons, 1_800_000_000.0)
    yield mirror
    await mirror.stop()
    if mirror.expiry is not None:
        await mirror.expiry.end()
    await store.close()


@pytest.fixture
def figures(mirror: compose.Mirror) -> Figures:
    return mirror.figures


async def test_the_tables_are_the_registry(figures: Figures) -> None:
    assert documented() == served(figures)


async def test_every_name_in_the_text_exists(figures: Figures) -> None:
    served(figures)
    samples = {sample.name for family in figures.registry.collect() for sample in family.samples}
    families = {family.name for family in figures.registry.collect()}
    assert set(NAME.findall(PAGE)) <= samples | families


async def test_the_page_is_written_from_a_mirror_that_is_not_ready_yet(figures: Figures) -> None:
    assert isinstance(figures.registry, CollectorRegistry)
    assert figures.registry.get_sample_value("regproxy_ready") == 0
    assert figures.registry.get_sample_value("regproxy_start_time_seconds") == 1_800_000_000


async def test_a_disk_that_refuses_is_counted_and_told(mirror: compose.Mirror) -> None:
    assert mirror.expiry is not None
    mirror.expiry.store.health.refused(OSError(errno.EROFS, "read-only"))
    refusals = "regproxy_disk_refusals_total"
    assert mirror.figures.registry.get_sample_value(refusals, {"reason": "read-only"}) == 1
    assert mirror.figures.registry.get_sample_value(refusals, {"reason": "full"}) == 0
    starting, trouble = mirror.reasons()
    assert starting == compose.STARTING
    assert "takes no writes" in trouble


@pytest.mark.parametrize(
    "values",
    [
        words.TYPES,
        words.HOWS,
        words.METHODS,
        words.KINDS,
        OUTCOMES,
        TOKEN_OUTCOMES,
        REFUSAL_REASONS,
        EXPIRED_KINDS,
    ],
)
def test_every_value_of_a_label_is_told(values: tuple[str, ...]) -> None:
    assert [value for value in values if f"`{value}`" not in PAGE] == []


def test_what_prometheus_is_to_read_is_yaml() -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yml\n(.*?)```", PAGE, re.DOTALL)]
    scraped, rules = blocks
    assert scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    (group,) = rules["groups"]
    assert all({"alert", "expr", "annotations"} <= set(rule) for rule in group["rules"])


def test_queries_are_balanced() -> None:
    """Nobody here can parse them; a lost bracket at least is seen."""
    queries = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
    assert len(queries) >= 5
    for query in queries:
        for opening, closing in ("()", "[]", "{}"):
            assert query.count(opening) == query.count(closing), query
