"""The soak, a short one; and what its upstream does and writes down."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

from bench.flawed import FLAWS, FlawedUpstream, Mood, Spell, bend, span, spells
from bench.limit import MIB
from bench.origin import Contents
from bench.policies import TRAFFIC, World
from bench.soak import Soak, measure
from bench.verdicts import BROKE, WRONG

pytestmark = pytest.mark.system
CALM = Spell(Mood.CALM, 0.0, 1000.0)
FLAKY = Spell(Mood.FLAKY, 0.0, 1000.0)
AWAY = Spell(Mood.AWAY, 0.0, 1000.0)


def test_a_short_one(tmp_path: Path) -> None:
    """All parts of it run; it is too short to show that nothing grows, or what expires, and says so."""
    outcome = measure(tmp_path, 12.0, 8 * MIB, 3, 0)
    first, *others = outcome.wrongs()
    assert "too short" in first
    assert all("nothing was shown" in each for each in others)
    assert len(outcome.pulls) > 3
    assert 0 < outcome.sent_bytes <= outcome.pulled_bytes
    assert outcome.looks[0].open_files > 5
    assert outcome.looks[0].memory_mib > 20


def test_moods_are_planned() -> None:
    """By the seed alone; calm after each trouble, no gap, and trouble of both kinds in an hour."""
    plan = spells(3, 3600.0)
    assert plan == spells(3, 3600.0)
    assert plan != spells(4, 3600.0)
    assert plan[-1].ends_s >= 3600.0
    assert [spell.mood is Mood.CALM for spell in plan] == [True, False] * (len(plan) // 2)
    assert all(one.ends_s == other.begins_s for one, other in pairwise(plan))
    assert {spell.mood for spell in plan} == set(Mood)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=2-5", (2, 5)),
        ("bytes=2-", (2, 9)),
        ("bytes=2-50", (2, 9)),
        ("bytes=10-", None),
        ("bytes=-3", None),
        ("lines=1-2", None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert span(header, 10) == expected


def test_a_bit_is_bent() -> None:
    content = bytes(9000)
    assert len(bend(content)) == 9000
    assert sum(bend(content)) == 1


class Asked:
    """An upstream in a mood, and what it gave: status and body, or the error's class."""

    def __init__(self, spell: Spell) -> None:
        self.world = world = World(attrs.evolve(TRAFFIC[0], images=20, pulls=9), 0)
        world.sizes = [max(8192, size // 50_000) for size in world.sizes]
        self.contents = Contents(world.sizes)
        self.digest = self.contents.digest(0)
        self.images = {image.number: image for _, image in world.pulls}
        self.upstream = FlawedUpstream(self.contents, self.images, [spell], 0, 0.1)

    def ask(self, url: str, path: str, headers: Mapping[str, str]) -> object:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=1)
        try:
            connection.request("GET", path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            return type(error)
        finally:
            connection.close()


def test_a_calm_upstream_serves_by_tag_and_digest_whole_and_in_parts() -> None:
    asked = Asked(CALM)
    number, image = next(iter(asked.images.items()))
    manifest, layer = asked.contents.manifest(image), asked.contents.layer(0)
    by_digest = f"/v2/a/manifests/sha256:{sha256(manifest).hexdigest()}"
    blob = f"/v2/a/blobs/{asked.digest}"
    with asked.upstream.serving() as url:
        assert asked.ask(url, f"/v2/a/manifests/v{number}", {}) == (200, manifest)
        assert asked.ask(url, by_digest, {}) == (200, manifest)
        assert asked.ask(url, blob, {}) == (200, layer)
        assert asked.ask(url, blob, {"Range": "bytes=10-19"}) == (206, layer[10:20])
    assert asked.upstream.faults == []


def test_a_flaky_one_fails_some_and_writes_each_down() -> None:
    """What did not come as it should was written down, with what it was and of what."""
    asked = Asked(FLAKY)
    layer = asked.contents.layer(0)
    with asked.upstream.serving() as url:
        given = [asked.ask(url, f"/v2/a/blobs/{asked.digest}", {}) for _ in range(60)]
        bad = [each for each in given if each != (200, layer)]
        assert len(bad) == len(asked.upstream.faults) > 3
    assert {fault.target for fault in asked.upstream.faults} == {asked.digest}
    assert {fault.kind for fault in asked.upstream.faults} <= set(FLAWS)


def test_a_mirror_that_fails_by_itself_is_found_out(tmp_path: Path) -> None:
    """A double that fails stands where the mirror should: what excused it is not there, so all is told."""
    asked = Asked(FLAKY)
    with asked.upstream.serving() as url:
        soak = Soak(tmp_path, asked.world, asked.contents, tmp_path / "x", int(url.rpartition(":")[2]), 0)
        for image in list(asked.images.values()) * 12:
            soak.pull(image)
    outcome = soak.outcome
    assert {BROKE, WRONG, 500} <= {each.status for each in outcome.failures}
    told = [each for each in outcome.wrongs() if "a failed pull" in each]
    assert len(told) == len(outcome.failures)
    outcome.faults = asked.upstream.faults
    told = [each for each in outcome.wrongs() if "a failed pull" in each]
    assert len(told) == sum(each.status == WRONG for each in outcome.failures)
    assert all("wrong bytes in a complete answer" in each for each in told)


def test_one_that_is_away_refuses() -> None:
    asked = Asked(AWAY)
    with asked.upstream.serving() as url:
        while not isinstance(given := asked.ask(url, "/v2/", {}), type):
            continue
        assert issubclass(given, ConnectionError)
