"""Taken offline and online by hand: at once, over restarts, and on a disk that refuses."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from regproxy.errors import StorageFailed, UnknownUpstream
from regproxy.interfaces import Circuit
from regproxy.proxy.offline import OfflineSwitch, Switched
from regproxy.testing.remotes import MemoryRemote

A, B = "a.example", "b.example"


class Paper:
    def __init__(self, notes: Mapping[str, float] = {}) -> None:
        self.notes = dict(notes)
        self.refuses = False

    def read(self) -> dict[str, float]:
        return self.notes

    def write(self, notes: Mapping[str, float]) -> Deferred[None]:
        if self.refuses:
            return fail(StorageFailed("the disk is full"))
        self.notes = dict(notes)
        return succeed(None)


class House:
    def __init__(self, paper: Paper, *written: str) -> None:
        self.remotes = {name: MemoryRemote(name) for name in (A, B)}
        for name in written:
            self.remotes[name].set_offline(True)
        self.switch = OfflineSwitch(self.remotes, paper, frozenset(written), lambda: 99.0)
        self.switch.recall()

    @property
    def offline(self) -> list[str]:
        return [name for name, each in self.remotes.items() if each.standing().circuit is Circuit.OFFLINE]


async def test_it_counts_at_once_and_over_a_restart() -> None:
    paper = Paper()
    house = House(paper)
    assert await house.switch.switch(A, True) == Switched(True)
    assert house.offline == [A]
    assert await house.switch.switch(A, True) == Switched(False)
    assert paper.notes == {A: 99.0}
    again = House(paper)
    assert again.offline == [A]
    assert again.remotes[A].standing().since_s == 99.0
    assert await again.switch.switch(A, False) == Switched(True)
    assert (again.offline, paper.notes, House(paper).offline) == ([], {}, [])


async def test_what_the_settings_have_offline_is_online_until_the_next_start() -> None:
    paper = Paper()
    house = House(paper, A)
    assert await house.switch.switch(A, True) == Switched(False)
    assert paper.notes == {}, "the settings say it, and may say otherwise one day"
    assert await house.switch.switch(A, False) == Switched(True, None, True)
    assert house.offline == []
    assert House(paper, A).offline == [A]


async def test_a_disk_that_refuses_costs_the_memory_not_the_word() -> None:
    paper = Paper()
    paper.refuses = True
    house = House(paper)
    assert await house.switch.switch(A, True) == Switched(True, "the disk is full")
    assert house.offline == [A]
    paper.refuses = False
    await house.switch.switch(B, True)
    assert set(paper.notes) == {A, B}


async def test_names_that_the_settings_do_not_have() -> None:
    house = House(Paper({"gone.example": 1.0, B: 2.0}))
    assert house.offline == [B]
    with pytest.raises(UnknownUpstream):
        await house.switch.switch("gone.example", False)
    with pytest.raises(UnknownUpstream):
        house.switch.is_offline("c.example")
