"""Jobs: few at a time, ended by who began them or with the daemon, remembered for a while."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from regproxy.errors import Busy, StorageFailed
from regproxy.inventory.jobs import MAX_REMEMBERED, MAX_RUNNING, Jobs
from regproxy.inventory.progress import MAX_NOTES, Progress
from tests.conftest import LoggedFailures


def test_a_job_runs_until_its_work_is_done() -> None:
    jobs, work = Jobs(Clock()), Deferred[None]()
    job = jobs.begin("warm", 2, lambda progress: work)
    assert (job.state, jobs.running, jobs.get(job.number)) == ("running", 1, job)
    work.callback(None)
    assert (job.state, jobs.running, jobs.get(job.number)) == ("done", 0, job)
    assert jobs.begin("warm", 0, lambda progress: succeed(None)).state == "done"


def test_cancelling_ends_its_work_once() -> None:
    ended: list[object] = []
    jobs = Jobs(Clock())
    job = jobs.begin("warm", 1, lambda progress: Deferred(ended.append))
    jobs.cancel(job)
    jobs.cancel(job)
    assert (job.state, len(ended)) == ("cancelled", 1)


def test_a_job_that_breaks_is_told_and_logged(logged_failures: LoggedFailures) -> None:
    job = Jobs(Clock()).begin("warm", 1, lambda progress: fail(ZeroDivisionError("x")))
    assert (job.state, job.error) == ("broken", "a fault in the mirror; its log has it")
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_there_are_few_at_a_time_and_few_are_remembered() -> None:
    jobs = Jobs(Clock())
    running = [jobs.begin("warm", 1, lambda progress: Deferred()) for _ in range(MAX_RUNNING)]
    with pytest.raises(Busy):
        jobs.begin("warm", 1, lambda progress: Deferred())
    jobs.cancel(running[0])
    for _ in range(100):
        last = jobs.begin("warm", 1, lambda progress: succeed(None))
    known = [number for number in range(1, last.number + 1) if jobs.get(number)]
    assert len(known) <= MAX_REMEMBERED
    assert {job.number for job in running[1:]} < set(known), "one that runs is never forgotten"


def test_the_end_of_the_daemon_ends_them() -> None:
    jobs = Jobs(Clock())
    job = jobs.begin("warm", 1, lambda progress: Deferred())
    over: list[None] = []
    jobs.stop().addCallback(over.append)
    assert (job.state, over) == ("cancelled", [None])
    with pytest.raises(StorageFailed):
        jobs.begin("warm", 1, lambda progress: Deferred())


def test_failures_are_counted_all_and_kept_some() -> None:
    progress = Progress(500)
    for number in range(300):
        progress.begin(f"image {number}")
        progress.end("gone")
    assert (progress.failed, len(progress.failures)) == (300, MAX_NOTES)
