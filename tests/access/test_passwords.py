"""Basic credentials: checked once, remembered for minutes, never kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, LoopingCall

from regproxy.access.htpasswd import Users
from regproxy.access.identity import Identity, Proof
from regproxy.access.passwords import (
    MAX_CREDENTIALS,
    MAX_WAITING,
    MAX_WAITING_EACH,
    RIGHT_S,
    WRONG_S,
    Passwords,
)
from regproxy.errors import Busy
from regproxy.worker import Worker
from tests.access.known import BOB, USERS, Thread, hashed, pair

RIGHT = pair("alice", "hunter2-right")


class Room:
    """Passwords over a thread that runs when the test says so, and a file that the test changes."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.thread = Thread()
        self.users = USERS
        self.passwords = Passwords(lambda: self.users, self.thread.run, self.clock.seconds)

    def ask(self, written: bytes, client: str = "10.0.0.1") -> Deferred[Identity | None]:
        return self.passwords.identify(written, client)

    def outcome(self, written: bytes, client: str = "10.0.0.1") -> Any:
        """The answer, all work done."""
        asked = self.ask(written, client)
        self.thread.all()
        return self.got(asked)

    @staticmethod
    def got(asked: Deferred[Any]) -> Any:
        found: list[Any] = []
        asked.addBoth(found.append)
        return found[0] if found else "waits"


def test_the_right_password_and_others() -> None:
    room = Room()
    assert room.outcome(RIGHT) == Identity("alice", Proof.PASSWORD)
    for wrong in (pair("alice", "other"), pair("alice", ""), pair("carol", "hunter2-right"), pair("", "")):
        assert room.outcome(wrong) is None


@pytest.mark.parametrize(
    "written", [b"", b"====", b"\xff", b"YWxpY2U=", b"A" * (MAX_CREDENTIALS + 1), b"a b"]
)
def test_what_is_no_pair_costs_no_hash(written: bytes) -> None:
    room = Room()
    assert room.outcome(written) is None
    assert room.thread.ran == 0


@given(st.binary(max_size=100))
def test_any_bytes_are_answered(written: bytes) -> None:
    room = Room()
    assert room.outcome(written) is None


def test_it_is_hashed_once_in_minutes() -> None:
    room = Room()
    for _ in range(3):
        assert room.outcome(RIGHT) is not None
    assert room.thread.ran == 1
    room.clock.advance(RIGHT_S)
    assert room.outcome(RIGHT) is not None
    assert room.thread.ran == 2


def test_a_wrong_one_is_remembered_for_a_shorter_time() -> None:
    room = Room()
    for _ in range(3):
        assert room.outcome(pair("alice", "no")) is None
    assert room.thread.ran == 1
    room.clock.advance(WRONG_S)
    room.outcome(pair("alice", "no"))
    assert room.thread.ran == 2


def test_a_changed_password_counts_at_once() -> None:
    """Both ways: the old one is nobody's, the new one is not still wrong."""
    room = Room()
    new = pair("alice", "new")
    assert (room.outcome(RIGHT) is not None, room.outcome(new)) == (True, None)
    room.users = Users({b"alice": hashed("new")})
    assert room.outcome(RIGHT) is None
    assert room.outcome(new) is not None
    room.users = Users({b"bob": BOB})
    assert room.outcome(new) is None


def test_many_who_ask_the_same_share_one_hash() -> None:
    room = Room()
    asked = [room.ask(RIGHT) for _ in range(100)]
    room.thread.all()
    assert {room.got(each).name for each in asked} == {"alice"}
    assert room.thread.ran == 1


def test_who_leaves_takes_nobody_along_and_leaves_no_work() -> None:
    room = Room()
    first, second = room.ask(RIGHT), room.ask(RIGHT)
    lonely = room.ask(pair("bob", "hunter2-other"))
    for leaving in (first, lonely):
        leaving.addErrback(lambda failure: failure.trap(CancelledError))
        leaving.cancel()
    room.thread.all()
    assert room.got(second).name == "alice"
    assert room.thread.ran == 1
    assert repr(room.passwords) == "<Passwords waiting=0 right=1 wrong=0>"


def test_those_who_left_take_no_room() -> None:
    room = Room()
    room.ask(pair("bob", "no"))
    for number in range(1000):
        leaving = room.ask(pair("alice", f"guess {number}"))
        leaving.addErrback(lambda failure: failure.trap(CancelledError))
        leaving.cancel()
    assert len(room.passwords._patient) <= 1
    assert len(room.passwords._checks) <= 2
    stays = room.ask(RIGHT)
    room.thread.all()
    assert room.got(stays).name == "alice"
    assert room.thread.ran == 2


def test_one_address_does_not_fill_the_queue() -> None:
    room = Room()
    asked = [room.ask(pair("alice", f"guess {n}"), "10.0.0.66") for n in range(50)]
    refused = [each for each in asked if room.got(each) != "waits"]
    assert len(refused) == 50 - 1 - MAX_WAITING_EACH, "one is in the thread"
    others = room.ask(RIGHT, "10.0.0.1")
    room.thread.all()
    assert room.got(others).name == "alice"


def test_a_flood_does_not_keep_out_who_is_remembered() -> None:
    """Not while the answer holds, and not when it is due again: it is asked about first then."""
    room = Room()
    room.outcome(RIGHT)
    flood = [room.ask(pair("alice", f"guess {n}"), f"10.0.{n % 250}.9") for n in range(5000)]
    refused = [found for each in flood if (found := room.got(each)) != "waits"]
    assert len(refused) == 5000 - 1 - MAX_WAITING
    assert all(found.check(Busy) for found in refused)
    assert room.got(room.ask(RIGHT)).name == "alice"
    room.clock.advance(RIGHT_S)
    due = room.ask(RIGHT)
    room.thread.step()
    room.thread.step()
    assert room.got(due).name == "alice"
    assert len(room.thread.jobs) == 1
    assert len(room.passwords._patient) == MAX_WAITING - 1
    room.thread.all()
    assert room.got(room.ask(RIGHT)).name == "alice"


def test_a_flood_forgets_nobody() -> None:
    room = Room()
    room.outcome(RIGHT)
    room.users = Users({b"alice": USERS.hashes[b"alice"]})
    room.thread.at_once = True
    room.passwords._run = lambda job: room.thread.run(lambda: False)
    for number in range(6000):
        room.ask(pair("alice", f"guess {number}"))
    assert room.got(room.ask(RIGHT)).name == "alice"
    assert len(room.passwords._wrong) <= 4096


def jobs_of(written: bytes) -> Callable[[], bool]:
    room = Room()
    room.ask(written)
    ((_, job),) = room.thread.jobs
    return job


def test_an_unknown_user_takes_as_long() -> None:
    """By the work: somebody's hash is computed, and what comes of it is not believed."""
    job = jobs_of(pair("carol", "hunter2-right"))
    known = jobs_of(pair("alice", "wrong"))
    assert job.args[1] in USERS.hashes.values()  # type: ignore[attr-defined]
    again = Room()
    for number in range(8):  # the same one each time: costs that differ must not tell them apart
        again.ask(pair("carol", f"guess {number}"))
    taken = set()
    while again.thread.jobs:
        taken.add(again.thread.jobs[0][1].args[1])  # type: ignore[attr-defined]
        again.thread.step()
    assert len(taken) == 1
    assert known.args[1] == USERS.hashes[b"alice"]  # type: ignore[attr-defined]
    room = Room()
    room.users = Users({b"alice": USERS.hashes[b"alice"]})
    assert room.outcome(pair("carol", "hunter2-right")) is None, "Alice's password is not Carol's"
    assert room.thread.ran == 1


def test_bcrypt_knows_72_bytes() -> None:
    """As htpasswd and other registries have it."""
    room = Room()
    room.users = Users({b"long": hashed("x" * 72)})
    assert room.outcome(pair("long", "x" * 100)) is not None


def test_no_password_is_kept_or_shown() -> None:
    room = Room()
    asked = room.ask(pair("alice", "hunter2"))
    shown = [repr(room.passwords), *map(repr, room.passwords._checks.values())]
    room.thread.all()
    room.got(asked)
    kept = [*room.passwords._right, *room.passwords._wrong, *map(repr, room.passwords._wrong.values())]
    assert not any("hunter2" in str(each) or "$2b$" in str(each) for each in (*shown, *kept))
    assert room.passwords._wrong.keys() != Room().passwords._wrong.keys()


async def test_the_reactor_goes_on_meanwhile() -> None:
    """A hash of 100 ms is made in the thread (invariant 8)."""
    thread = Worker(reactor, "regproxy-passwords")
    users = Users({b"slow": hashed("hunter2-right", 11)})
    passwords = Passwords(lambda: users, thread.run, time.monotonic)
    turns: list[None] = []
    turning = LoopingCall(turns.append, None)
    asked = passwords.identify(pair("slow", "hunter2-right"), "")
    turning.start(0.001)
    found = await asked
    turning.stop()
    assert found == Identity("slow", Proof.PASSWORD)
    assert len(turns) > 20
    thread.stop()
    thread.stop()
