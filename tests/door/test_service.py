"""The life of the daemon in one process: what begins, what ends, and what ends it early."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher

from regproxy import service
from regproxy.compose import Mirror
from regproxy.errors import StorageFailed, StorageLocked, UpstreamRefused, UpstreamTimeout
from regproxy.interfaces import Circuit, Standing
from regproxy.service import CLOSE_S, DRAIN_S, END_S, MirrorService
from regproxy.settings import (
    AccessSettings,
    Credentials,
    LogSettings,
    Settings,
    StorageSettings,
    UpstreamSettings,
)
from regproxy.storage.survey import Survey
from regproxy.switching import SWITCH_S
from tests.conftest import LoggedFailures


@pytest.fixture(autouse=True)
def python(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a service that starts sets for its process."""
    told: list[object] = []
    monkeypatch.setattr(sys, "setswitchinterval", told.append)
    monkeypatch.setattr(service, "freeze", lambda: told.append("freeze"))
    return told


class Reactor(MemoryReactorClock):
    """Runs at once what is to run when it runs, and from threads; remembers triggers and stops."""

    def __init__(self) -> None:
        super().__init__()
        self.triggers: list[tuple[Any, ...]] = []
        self.stopped = False

    def callFromThread(self, callable: Any, *args: Any, **kwargs: Any) -> None:
        callable(*args, **kwargs)

    def addSystemEventTrigger(self, *args: Any) -> None:
        self.triggers.append(args)

    def stop(self) -> None:
        self.stopped = True


class Store:
    """A store whose survey and end are in the test's hand."""

    def __init__(self) -> None:
        self.surveyed: Deferred[Any] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self.asked: list[float] = []

    def survey(self) -> Deferred[Any]:
        return self.surveyed

    def close(self) -> Deferred[None]:
        return self.closed


@attrs.define
class Remote:
    """An upstream that thinks of our credentials what the test says."""

    verdict: Callable[[], Deferred[None]] = lambda: succeed(None)
    closed: bool = False
    stands: Standing = attrs.field(factory=Standing)

    def check_credentials(self) -> Deferred[None]:
        return self.verdict()

    def standing(self) -> Standing:
        return self.stands

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class House:
    """A service with doubles all around it."""

    def __init__(self, settings: Settings, exit_process: Callable[[int], object] | None = None) -> None:
        self.reactor = Reactor()
        self.store = Store()
        self.remotes = {upstream.name: Remote() for upstream in settings.upstreams}
        self.transfers: Deferred[None] = succeed(None)
        self.under_way = 0
        self.prepared: list[Any] = []
        self.steps: list[str] = []
        self.service = MirrorService(
            settings,
            self.reactor,
            lambda: 0.0,
            opener=self.open,
            composer=self.compose,
            exit_process=exit_process,
        )

    def open(self, root: Path, reactor: object, wall: object) -> Store:
        self.steps.append("store")
        return self.store

    def begin(self) -> Deferred[None]:
        self.steps.append("begin")
        return succeed(None)

    def compose(self, *rooms: object) -> Mirror:
        self.steps.append("mirror")

        def stop() -> Deferred[None]:
            self.steps.append("transfers end")
            return self.transfers

        factory = Factory.forProtocol(Protocol)
        remotes: Any = self.remotes
        return Mirror(factory, remotes, self.begin, stop, lambda: self.under_way, self.prepared.append)

    def start(self) -> None:
        self.service.startService()
        self.reactor.run()


def settings_with(**changed: Any) -> Settings:
    plain = Settings(
        listen=("tcp:5000",),
        admin=("tcp:5001:interface=127.0.0.1",),
        storage=StorageSettings(Path("/nowhere")),
        upstreams=(),
        access=AccessSettings((ip_network("127.0.0.0/8"),)),
        log=LogSettings(access="off"),
    )
    return attrs.evolve(plain, **changed)


WITH_CREDENTIALS = UpstreamSettings(
    "registry.example", ("http://127.0.0.1:1",), credentials=Credentials("mirror", "hunter2")
)


@pytest.fixture(name="lines")
def _lines() -> Iterator[list[str]]:
    """What our own code logs, as ``level: message``."""
    lines: list[str] = []

    def note(event: LogEvent) -> None:
        if str(event.get("log_namespace")).startswith("regproxy"):
            lines.append(f"{event['log_level'].name}: {event['log_format'].format(**event)}")

    globalLogPublisher.addObserver(note)
    yield lines
    globalLogPublisher.removeObserver(note)


@pytest.fixture(autouse=True)
def _hangup_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_building_it_touches_nothing() -> None:
    """twistd forks after this: a lock or a thread made here would be lost."""
    house = House(settings_with())
    assert (house.steps, house.reactor.tcpServers, signal.getsignal(signal.SIGHUP)) == (
        [],
        [],
        signal.SIG_DFL,
    )


def test_the_folder_is_had_before_the_ports() -> None:
    house = House(settings_with())
    house.start()
    assert house.steps == ["store", "mirror", "begin"]
    assert [server[0] for server in house.reactor.tcpServers] == [5000, 5001]
    assert len(house.prepared) == 1


BOUND = UpstreamSettings("docker.io", ("https://x",), listen=("tcp:5002:interface=127.0.0.1", "tcp:5003"))


def test_a_listener_of_one_upstream_is_the_same_site_bound_to_it(lines: list[str]) -> None:
    house = House(settings_with(upstreams=(BOUND,)))
    house.start()
    assert [server[0] for server in house.reactor.tcpServers] == [5000, 5002, 5003, 5001]
    factories = [server[1] for server in house.reactor.tcpServers]
    assert list(map(repr, factories[1:3])) == ["<BoundListener docker.io>"] * 2
    assert len(house.prepared) == 3
    (announced,) = [line for line in lines if " serves on " in line]
    assert "0.0.0.0:5002 (for docker.io), 0.0.0.0:5003 (for docker.io), admin on" in announced


def test_a_listener_of_one_upstream_that_cannot_be_had_ends_the_start() -> None:
    house = House(settings_with(upstreams=(attrs.evolve(BOUND, listen=("carrier-pigeon:1",)),)))
    with pytest.raises(SystemExit):
        house.start()


def test_a_locked_folder_ends_the_start_before_any_port(capfd: pytest.CaptureFixture[str]) -> None:
    house = House(settings_with())

    def locked(*_: object) -> Store:
        raise StorageLocked("in use by process 7")

    service = MirrorService(
        settings_with(), house.reactor, lambda: 0.0, opener=locked, composer=house.compose
    )
    with pytest.raises(SystemExit) as caught:
        service.startService()
    assert caught.value.code == 1
    assert house.reactor.tcpServers == []


def test_a_default_admin_socket_that_cannot_be_had_is_a_warning(lines: list[str]) -> None:
    house = House(settings_with(admin=("carrier-pigeon:1",)))
    house.start()
    assert any(
        line.startswith("warn: No admin listener: cannot listen on carrier-pigeon:1") for line in lines
    )
    assert house.service.running


def test_a_written_admin_socket_that_cannot_be_had_ends_the_start() -> None:
    house = House(settings_with(admin=("carrier-pigeon:1",), admin_written=True))
    with pytest.raises(SystemExit):
        house.start()


def test_in_a_daemon_a_refused_start_is_an_exception_since_twistd_waits_for_one(
    monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setattr("sys.excepthook", None)
    settings = settings_with(listen=("carrier-pigeon:1",))
    house = House(settings)
    service = MirrorService(
        settings, house.reactor, lambda: 0.0, daemonised=True, log_apart=True,
        opener=house.open, composer=house.compose,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="cannot listen on carrier-pigeon:1"):
        service.startService()
    assert any(line.startswith("critical: regproxy: cannot listen") for line in lines)


def test_refused_credentials_are_one_error_line(lines: list[str]) -> None:
    house = House(settings_with(upstreams=(WITH_CREDENTIALS,)))
    house.remotes["registry.example"].verdict = lambda: fail(UpstreamRefused("registry.example", "401"))
    house.start()
    assert [line for line in lines if line.startswith("error")] == [
        "error: Credentials are refused: registry.example: 401"
    ]
    assert house.service.running


def test_threads_give_way_soon_and_the_program_is_kept_from_the_collector(python: list[object]) -> None:
    House(settings_with()).start()
    assert python == [SWITCH_S, "freeze"]


def test_credentials_that_cannot_be_tried_stop_nothing(lines: list[str]) -> None:
    house = House(settings_with(upstreams=(WITH_CREDENTIALS,)))
    house.remotes["registry.example"].verdict = lambda: fail(UpstreamTimeout("registry.example", "no answer"))
    house.start()
    assert "warn: Credentials could not be tried yet: registry.example: no answer" in lines
    assert not any("hunter2" in line for line in lines)


def test_who_is_offline_is_neither_tried_nor_looked_for(lines: list[str]) -> None:
    house = House(settings_with(upstreams=(WITH_CREDENTIALS,)))
    remote = house.remotes["registry.example"]
    remote.stands = Standing(Circuit.OFFLINE)
    remote.verdict = lambda: fail(AssertionError("it is offline"))
    house.start()
    assert house.reactor.tcpClients == []
    assert not any("Credentials" in line or "failed" in line for line in lines)


def test_a_failed_survey_stops_nothing(lines: list[str]) -> None:
    house = House(settings_with())
    house.start()
    house.store.surveyed.errback(StorageFailed("the disk fails to read"))
    assert "error: The survey of the storage folder ended early: the disk fails to read" in lines
    assert house.service.running


def surveys(house: House, *outcomes: Survey | Exception) -> None:
    """What each of its next surveys comes to; one more is never over."""
    coming: list[Deferred[Any]] = [
        fail(one) if isinstance(one, Exception) else succeed(one) for one in outcomes
    ]
    house.store.asked = []

    def survey() -> Deferred[Any]:
        house.store.asked.append(house.reactor.seconds())
        return coming.pop(0) if coming else Deferred()

    house.store.survey = survey  # type: ignore[method-assign]


def pauses(house: House, until_s: float) -> list[float]:
    """Let time go by; the seconds between its surveys."""
    end_s = house.reactor.seconds() + until_s
    while house.reactor.seconds() < end_s:
        house.reactor.advance(60)
    return [later - earlier for earlier, later in pairwise(house.store.asked)]


def test_a_survey_that_could_not_see_all_is_repeated_later_each_time() -> None:
    """And each week when it could: others may change the folder."""
    house = House(settings_with())
    part, whole = Survey(whole=False), Survey()
    surveys(house, part, StorageFailed("the disk fails to read"), *[part] * 6, whole, part, whole)
    house.start()
    hours = [round(pause_s / 3600, 2) for pause_s in pauses(house, 16 * 86_400)]
    assert hours == [0.17, 0.33, 0.67, 1.33, 2.67, 5.33, 6.0, 6.0, 168.0, 0.17, 168.0]


def test_a_survey_that_breaks_is_not_the_last_one(logged_failures: LoggedFailures) -> None:
    house = House(settings_with())
    surveys(house, ZeroDivisionError(), Survey())
    house.start()
    assert pauses(house, 86_400) == [600.0]
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_no_survey_after_the_end() -> None:
    house = House(settings_with())
    surveys(house, Survey())
    house.start()
    house.store.closed.callback(None)
    assert ending(house) == [None]
    assert pauses(house, 2 * 86_400) == []


def test_a_fault_behind_the_daemon_is_logged_whole(logged_failures: LoggedFailures) -> None:
    house = House(settings_with())
    house.start()
    house.store.surveyed.errback(ZeroDivisionError())
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    assert house.service.running


def test_warnings_of_the_settings_are_logged(lines: list[str]) -> None:
    House(settings_with(warnings=("http.secret is not used",))).start()
    assert "warn: http.secret is not used" in lines


def test_the_hangup_handler_goes_with_the_service() -> None:
    house = House(settings_with())
    house.start()
    assert signal.getsignal(signal.SIGHUP) not in {signal.SIG_DFL, signal.SIG_IGN}
    house.store.closed.callback(None)
    house.service.stopService()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_nobody_hears_does_not_kill(number: signal.Signals) -> None:
    """logrotate's scripts send SIGUSR1; twistd's own handler for it, if there is one, stays."""

    def rotate(number: int, frame: object) -> None: ...

    for before, during in ((signal.SIG_DFL, signal.SIG_IGN), (rotate, rotate)):
        former = signal.signal(number, before)
        try:
            house = House(settings_with())
            house.start()
            assert signal.getsignal(number) is during
            house.store.closed.callback(None)
            house.service.stopService()
            assert signal.getsignal(number) is before
        finally:
            signal.signal(number, former)


def test_a_hangup_while_it_ends_is_ignored() -> None:
    """Its default would kill the process in the middle of the drain."""
    for exit_process in (None, lambda code: None):
        house = House(settings_with(), exit_process)
        house.start()
        ended = ending(house)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        house.store.closed.callback(None)
        assert ended == [None]
        expected = signal.SIG_DFL if exit_process is None else signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is expected


def ending(house: House) -> list[object]:
    ended: list[object] = []
    house.service.stopService().addBoth(ended.append)
    return ended


def test_the_end_closes_remotes_and_store() -> None:
    house = House(settings_with(upstreams=(WITH_CREDENTIALS,)))
    house.start()
    ended = ending(house)
    assert house.steps[-1] == "transfers end"
    assert house.remotes["registry.example"].closed
    assert ended == []
    house.store.closed.callback(None)
    assert ended == [None]
    assert not house.service.running


def test_running_responses_may_end_first() -> None:
    house = House(settings_with())
    house.start()
    house.store.closed.callback(None)
    house.under_way = 1
    ended = ending(house)
    house.reactor.pump([0.1] * 10)
    assert "transfers end" not in house.steps
    house.under_way = 0
    house.reactor.pump([0.1])
    assert ended == [None]


def test_responses_that_do_not_end_are_cut_off(lines: list[str]) -> None:
    house = House(settings_with())
    house.start()
    house.store.closed.callback(None)
    house.under_way = 3
    ended = ending(house)
    house.reactor.pump([0.1] * int(DRAIN_S * 10 + 2))
    assert ended == [None]
    assert "info: 3 responses are cut off" in lines


def test_transfers_and_a_store_that_hang_hold_the_end_up_for_a_bounded_time(lines: list[str]) -> None:
    house = House(settings_with())
    house.start()
    house.transfers = Deferred()
    ended = ending(house)
    house.reactor.advance(CLOSE_S)
    house.reactor.advance(CLOSE_S)
    assert ended == [None]
    assert [line for line in lines if line.startswith("error")] == [
        "error: Closing transfers took longer than 1.4 s",
        "error: Closing the store took longer than 1.4 s",
    ]


def test_a_survey_under_way_is_left_at_the_end() -> None:
    house = House(settings_with())
    house.start()
    house.store.closed.callback(None)
    assert ending(house) == [None]
    assert house.store.surveyed.called


def test_all_bounds_together_leave_room_below_ten_seconds() -> None:
    assert DRAIN_S + 3 * CLOSE_S < END_S < 10


@pytest.mark.parametrize(("store_closes", "code"), [(True, 0), (False, 1)])
def test_a_thread_that_hangs_does_not_keep_the_process(
    store_closes: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name lookups run in threads that are joined at the end, and may hang for minutes."""
    alarms: list[Any] = []

    class Alarm:
        def __init__(self, after_s: float, ring: Callable[[], object]) -> None:
            alarms.append((after_s, ring))

        def start(self) -> None:
            assert self.daemon

    exits: list[int] = []
    monkeypatch.setattr("regproxy.service.Timer", Alarm)
    house = House(settings_with(), exits.append)
    house.start()
    if store_closes:
        house.store.closed.callback(None)
    ending(house)
    ((after_s, ring),) = alarms
    assert after_s < 10
    ring()
    assert exits == [code]


def test_a_failure_while_running_ends_the_process_with_a_code(lines: list[str]) -> None:
    exits: list[int] = []
    house = House(settings_with(), exits.append)
    house.service.fail("the writer thread is lost", 3)
    assert house.reactor.stopped
    ((phase, event, leave, code),) = house.reactor.triggers
    assert (phase, event) == ("after", "shutdown")
    leave(code)
    assert exits == [3]
    assert lines == ["critical: the writer thread is lost"]
