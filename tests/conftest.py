"""What every test is held to: no error goes unnoticed, nothing is left behind in the reactor.

pytest-twisted alone lets these pass: errors in Deferreds nobody looked at, failures that were
logged, delayed calls left over. A test that provokes a logged failure takes it off the list with
``logged_failures.flush(ErrorType)``.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings
from twisted.internet import reactor
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from regproxy.testing import processes
from tests.overheard import Overheard, find_secrets

# On a clean clone the first text that is drawn makes hypothesis' table of characters: a second and more,
# which counts as slow data in whichever test comes first.
settings.register_profile("regproxy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("regproxy")


def pytest_collection_finish() -> None:
    """What the imports made stays for good: the collections after each test need not look at it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def nothing_heaps_up() -> None:
    """Each collection is as quick as the first: of all fixtures of a module the first one, so that what
    those make is looked at."""
    keep_what_is_left()


def keep_what_is_left() -> None:
    """What is left of the modules before stays for good; an error that nobody looked at is told now."""
    seen = LoggedFailures()
    globalLogPublisher.addObserver(seen)
    try:
        gc.collect()
        gc.freeze()
    finally:
        globalLogPublisher.removeObserver(seen)
    assert not seen.failures, [failure.getTraceback() for failure in seen.failures]


PROGRAM_PACKAGES = {
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "busybox": "busybox-static",
    "htpasswd": "apache2-utils",
    "systemd-analyze": "systemd",
    "ctr": "containerd",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}


def require_program(name: str) -> Path:
    """Where the program ``name`` is; without it the test is skipped, under CI=true it fails."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        lacks(f"needs {name}: apt-get install {PROGRAM_PACKAGES.get(name, name)}")
    return Path(found)


def lacks(what: str) -> NoReturn:
    """The machine has not what the test needs: it is skipped, under CI=true it fails."""
    if os.environ.get("CI", "").lower() in {"", "0", "false"}:
        pytest.skip(what)
    pytest.fail(what)


class LoggedFailures:
    """A log observer that keeps the failures that were logged."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            self.failures.append(event["log_failure"])

    def flush(self, *types: type[BaseException]) -> list[Failure]:
        """Take the logged failures of these types off the list; they were expected."""
        gc.collect()
        found = [failure for failure in self.failures if failure.check(*types)]
        self.failures = [failure for failure in self.failures if failure not in found]
        return found


def open_files() -> dict[int, str]:
    """Descriptors of files and folders, by what they are open on; sockets and pipes end later."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return {number: path for number, path in found.items() if path.startswith("/") and "/dev/" not in path}


@pytest.fixture(autouse=True)
def no_files_left() -> Iterator[None]:
    """Fail the test that leaves a file or a folder open."""
    before = open_files()
    yield
    left = {path for number, path in open_files().items() if before.get(number) != path}
    assert not left, f"left open: {sorted(left)}"


@pytest.fixture(autouse=True)
def no_secrets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test when a secret is in what was logged, printed by a daemon, or told in an error.

    What the test itself printed is looked at by ``pytest_runtest_makereport``.
    """
    overheard = Overheard()
    globalLogPublisher.addObserver(overheard)
    processes.WITNESSES.append(overheard.child)
    try:
        yield
    finally:
        processes.WITNESSES.remove(overheard.child)
        globalLogPublisher.removeObserver(overheard)
    leaks = overheard.leaks(getattr(request.node, "funcargs", {}).get("tmp_path"))
    assert not leaks, "secrets were told:\n" + "\n".join(leaks)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A secret in what went to standard output or error fails the test as well."""
    report = yield
    leaks = [leak for _, text in report.sections for leak in find_secrets(text)]
    if leaks and report.when == "teardown" and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} printed secrets:\n" + "\n".join(leaks)
    return report


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[LoggedFailures]:
    """Fail the test on any failure that was logged and not flushed, and on leftover delayed calls."""
    seen = LoggedFailures()
    before = set(reactor.getDelayedCalls())
    globalLogPublisher.addObserver(seen)
    try:
        yield seen
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(seen)
    left = [call for call in reactor.getDelayedCalls() if call not in before]
    for call in left:
        call.cancel()
    assert not seen.failures, [failure.getTraceback() for failure in seen.failures]
    assert not left, f"delayed calls left in the reactor: {left}"
