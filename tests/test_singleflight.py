"""One job, many waiters: each of them may leave alone."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from regproxy.errors import ContentMissing
from regproxy.singleflight import SingleFlight, Waiters


class Job:
    """A job that ends when the test says so, and counts its starts."""

    def __init__(self) -> None:
        self.starts = 0
        self.gate: Deferred[str] = Deferred()

    async def __call__(self) -> str:
        self.starts += 1
        return await self.gate


def outcome(deferred):
    """What a Deferred holds now: a list that gets its result or failure."""
    seen = []
    deferred.addBoth(seen.append)
    return seen


def test_one_job_for_all_who_wait():
    flights, job = SingleFlight(), Job()
    seen = [outcome(flights.run("k", job)) for _ in range(5)]
    assert job.starts == 1
    job.gate.callback("done")
    assert seen == [["done"]] * 5
    assert len(flights) == 0


def test_a_cancelled_waiter_leaves_alone():
    flights, job = SingleFlight(), Job()
    first, second = flights.run("k", job), flights.run("k", job)
    one, two = outcome(first), outcome(second)
    first.cancel()
    assert one[0].check(CancelledError)
    assert two == []
    job.gate.callback("done")
    assert two == ["done"]


def test_the_job_goes_on_when_everyone_has_left():
    flights, job = SingleFlight(), Job()
    waiter = flights.run("k", job)
    seen = outcome(waiter)
    waiter.cancel()
    assert seen[0].check(CancelledError)
    assert "k" in flights
    late = outcome(flights.run("k", job))
    job.gate.callback("done")
    assert (job.starts, late) == (1, ["done"])


def test_an_error_reaches_each_waiter_in_a_failure_of_its_own():
    flights, job = SingleFlight(), Job()
    seen = [outcome(flights.run("k", job)) for _ in range(3)]
    job.gate.errback(ContentMissing("gone"))
    assert [s[0].check(ContentMissing) for s in seen] == [ContentMissing] * 3
    assert len({id(s[0]) for s in seen}) == 3


def test_after_the_end_a_new_job_starts():
    flights, job = SingleFlight(), Job()
    seen = outcome(flights.run("k", job))
    job.gate.callback("one")
    job.gate = Deferred()
    again = outcome(flights.run("k", job))
    job.gate.callback("two")
    assert (seen, again, job.starts) == (["one"], ["two"], 2)


def test_a_waiter_that_starts_the_same_key_from_its_callback_gets_a_new_job():
    flights, job = SingleFlight(), Job()
    again = []

    def once_more(_):
        job.gate = Deferred()
        again.append(outcome(flights.run("k", job)))

    flights.run("k", job).addCallback(once_more)
    job.gate.callback("one")
    assert job.starts == 2
    job.gate.callback("two")
    assert again == [["two"]]


@pytest.mark.parametrize("fire", [lambda w: w.fire("x"), lambda w: w.fail(ContentMissing("x"))])
def test_a_waiter_whose_callback_cancels_another_harms_nobody(fire):
    waiters: Waiters[str] = Waiters()
    first, second, third = waiters.add(), waiters.add(), waiters.add()
    first.addBoth(lambda _: second.cancel())
    seen = [outcome(d) for d in (second, third)]
    fire(waiters)
    assert seen[0][0].check(CancelledError)
    assert len(seen[1]) == 1
    assert len(waiters) == 0
