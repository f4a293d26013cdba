"""A year in the life of a mirror, in simulated time: nothing goes early, nothing stays, nothing leaks.

The folder is a real one, and everything between disk and upstreams is the daemon's own code. An
independent model computes from what clients were given which bytes have to lie there, and which may.
"""

from __future__ import annotations

import gc
import os
import random
import sys
from pathlib import Path

import attrs
import pytest

from regproxy.settings import DAY_S
from regproxy.testing.at_once import AtOnce
from regproxy.testing.checker import Checker
from tests.year.model import Model, bytes_of
from tests.year.world import CORP, HUB, House, Shop

pytestmark = pytest.mark.system

SEED = int(os.environ.get("YEAR_SEED", "1"))
IMAGES = 200
ASKED_A_DAY = 16
YEAR_DAYS, MONTH_DAYS = 360, 30
LAST_START_DAY = 180
"""From then on it is one life, in which whatever leaks adds up."""
CACHES = {
    "proxy.completeness.MAX_REMEMBERED": 8,
    "proxy.completeness.MAX_PARTS": 200,
    "storage.content.REMEMBERED_LINKS": 100,
    "storage.content.MEMORY_BYTES": 20_000,
    "storage.store.REMEMBERED_TAGS": 100,
    "storage.revocations._REMEMBERED": 100,
    "proxy.ahead.MAX_REPOSITORIES": 100,
    "proxy.ahead.MAX_FETCHED": 100,
}
"""Bounded, but a year of these few images would not fill them."""


@attrs.frozen
class Weight:
    """What the process carries at the end of a month."""

    things: int
    delayed_calls: int
    descriptors: int
    container_bytes: int


class Year:
    """Days, each with its pulls; months, each with a look; what else happens is in the calendar."""

    def __init__(self, root: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.model = Model({HUB: 7 * DAY_S, CORP: 14 * DAY_S})
        self.house = House(root, self.model)
        self.shop = Shop(IMAGES, self.house)
        self.weights: list[Weight] = []
        self.pulls = self.sure_bytes = self.bytes = self.possible_bytes = 0

    def live(self) -> None:
        self.house.begin()
        for day in range(YEAR_DAYS):
            self._day(day)
            if day % 4 == 0:
                self._look()
            if day % MONTH_DAYS == MONTH_DAYS - 1:
                self.weights.append(self._weigh())

    def be_forgotten(self) -> None:
        """Nobody asks any more."""
        self._all_come_up()
        self.house.clock.run_for(max(self.model.ttls.values()) + DAY_S)
        self._look()
        self.weights.append(self._weigh())

    def _day(self, day: int) -> None:
        ends_s = self.house.now_s + DAY_S
        for product in self.shop.products:
            if self.rng.random() < 1 / 45:
                self.shop.publish(product)
        for _ in range(ASKED_A_DAY):
            self.house.clock.run_for(self.rng.expovariate(ASKED_A_DAY / DAY_S))
            product = self.shop.choose(self.rng)
            if self.rng.random() < 0.3:
                self.house.look(product.repository)
            else:
                self.pulls += self.house.pull(product.repository)
        self._calendar(day)
        self.house.clock.run_for(max(0.0, ends_s - self.house.now_s))

    def _calendar(self, day: int) -> None:
        """Every week something, in turns."""
        rng = self.rng
        kind = {2: self._go_down, 3: self._jump, 4: self._drift}.get(day % 7)
        if day < LAST_START_DAY:
            kind = {0: self._restart, 1: self._kill}.get(day % 7, kind)
        if day % 7 == 6:
            self._all_come_up()
        elif kind is not None and rng.random() < 0.5:
            kind()
        if day == LAST_START_DAY:
            self._change_ttl()

    def _restart(self) -> None:
        """Down for up to two days; now and then the clock is set meanwhile."""
        self.house.end()
        down_s = self.rng.choice((5.0, 3600.0, self.rng.uniform(0, 2 * DAY_S)))
        self.house.clock.advance(down_s)
        kept_s = 0.0
        if self.rng.random() < 0.3:
            self.house.ahead_s += self.rng.choice((-400 * DAY_S, 400 * DAY_S))
            kept_s = down_s + 60
        self.house.begin()
        self.model.started(self.house.now_s, kept_s)

    def _kill(self) -> None:
        """Right after a use, often, and with half a blob on its way."""
        self.house.clock.run_for(3600)  # what a jump of the clock changed is on disk by then
        self.house.pull(self.shop.choose(self.rng).repository)
        self.house.clock.run_for(self.rng.uniform(0, 8))
        if self.model.up[HUB].answers:
            self.house.begin_a_fill_that_never_ends()
        self.model.killed(self.house.now_s)
        self.house.kill()
        self.house.clock.advance(self.rng.uniform(1, 600))
        self.house.begin()
        self.model.started(self.house.now_s, found=True)

    def _go_down(self) -> None:
        self.house.go_down(self.rng.choice((HUB, CORP)))

    def _all_come_up(self) -> None:
        for name, up in self.model.up.items():
            if not up.answers:
                self.house.come_up(name)

    def _jump(self) -> None:
        """The wall clock is set by an hour, a month or a year, either way."""
        self.house.ahead_s += self.rng.choice((1, -1)) * self.rng.choice((3600.0, 30 * DAY_S, 365 * DAY_S))

    def _drift(self) -> None:
        self.house.ahead_s += self.rng.uniform(-30, 30)

    def _change_ttl(self) -> None:
        """A new setting, so a restart; it counts for what is there."""
        self.house.end()
        self.model.change_ttl(HUB, 10 * DAY_S, self.house.now_s)
        self.house.begin()
        self.model.started(self.house.now_s)

    # looks

    def _look(self) -> None:
        """What lies there is what must be there at least, and what may be at most."""
        now_s = self.house.now_s
        self.model.forget_gone(now_s)
        looked = Checker(self.house.root)
        assert looked.check(surveyed=True) == []
        here = looked.walked.keys.keys()
        must, may = dict(self.model.must(now_s)), dict(self.model.may(now_s))
        assert must.keys() - here == set(), f"went early, at {now_s}"
        assert here - may.keys() == set(), f"stayed, at {now_s}"
        size = sum(status.st_size for status in looked.walked.blobs.values())
        sure, possible = bytes_of(must.values()), bytes_of(may.values())
        assert sure <= size <= possible
        assert self.house.store.occupied.blob_bytes == size
        self.sure_bytes, self.bytes, self.possible_bytes = (
            self.sure_bytes + sure,
            self.bytes + size,
            self.possible_bytes + possible,
        )

    def _weigh(self) -> Weight:
        """With every upstream up: a double keeps the traceback of what it was told to raise."""
        self._all_come_up()
        self.house.forget_calls()
        self.house.clock.run_for(60)
        gc.collect()
        return Weight(
            len(self.house.scheduler),
            len(self.house.clock.getDelayedCalls()),
            len(os.listdir("/proc/self/fd")),
            sum(map(sys.getsizeof, gc.get_objects())),
        )


@pytest.fixture
def year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Year:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)
    for room in ("opening", "store"):
        monkeypatch.setattr(f"regproxy.storage.{room}.DiskThread", AtOnce)
    for cache, limit in CACHES.items():
        monkeypatch.setattr(f"regproxy.{cache}", limit)
    return Year(tmp_path / "root", SEED)


def test_a_year(year: Year) -> None:
    try:
        year.live()
        year.be_forgotten()
        year.house.end()
    except BaseException as error:
        raise AssertionError(f"YEAR_SEED={SEED}, day {year.house.now_s / DAY_S:.3f}: {error}") from error
    check_that_much_happened(year)
    check_that_nothing_leaks(year.weights)


def check_that_much_happened(year: Year) -> None:
    """And that the model is a sharp one."""
    assert year.pulls > YEAR_DAYS * ASKED_A_DAY / 2
    assert year.house.removed > 1000
    assert year.sure_bytes > 0.85 * year.possible_bytes


def check_that_nothing_leaks(weights: list[Weight]) -> None:
    assert {weight.descriptors for weight in weights} == {weights[0].descriptors}
    assert all(weight.delayed_calls <= weight.things + 3 for weight in weights)
    *months, last = weights
    one_life = [month.container_bytes for month in months[-5:]]
    assert max(one_life) - min(one_life) < 200_000, weights
    assert (last.things, last.delayed_calls) == (0, 1), "what is left looks at the clocks"
    assert last.container_bytes < months[0].container_bytes + 150_000, weights
