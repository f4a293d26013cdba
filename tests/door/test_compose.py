"""The rooms, introduced to each other: a disk that is real, upstreams that are not asked."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from regproxy.compose import Mirror, build_mirror, circuit_of, silence
from regproxy.credentials import compare_credentials
from regproxy.errors import StorageFailed
from regproxy.expiry.pulse import Pulse
from regproxy.gauges import show_upstreams
from regproxy.interfaces import Circuit, DiskUse, Standing
from regproxy.metrics.figures import Figures
from regproxy.settings import (
    ClientCertificate,
    Credentials,
    LogSettings,
    Settings,
    StorageSettings,
    UpstreamSettings,
)
from regproxy.storage.health import DiskHealth
from regproxy.testing.certificates import self_signed
from regproxy.testing.remotes import MemoryRemote

CLIENT = IPv4Address("TCP", "127.0.0.1", 40000)


class Notes:
    """A store that remembers which credential it was shown."""

    def __init__(self) -> None:
        self.shown: dict[str, bytes] = {}
        self.refuses = False

    def credential_changed(self, upstream: str, fingerprint: bytes) -> Deferred[bool]:
        if self.refuses:
            return fail(StorageFailed("the disk is full"))
        before = self.shown.get(upstream, fingerprint)
        self.shown[upstream] = fingerprint
        return succeed(before != fingerprint)


def settings(*upstreams: UpstreamSettings) -> Settings:
    return Settings(
        ("tcp:0",), (), StorageSettings(Path("/nowhere")), upstreams, log=LogSettings(format="text")
    )


def upstream(name: str, credentials: Credentials | None = None) -> UpstreamSettings:
    return UpstreamSettings(name, ("http://127.0.0.1:1",), default=True, credentials=credentials)


@pytest.fixture(name="lines")
def _lines() -> Iterator[list[str]]:
    lines: list[str] = []

    def note(event: LogEvent) -> None:
        lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(note)
    yield lines
    globalLogPublisher.removeObserver(note)


class Disk:
    """A store on which there is nothing; comparing credentials takes until ``compared`` fires."""

    def __init__(self) -> None:
        self.compared: Deferred[bool] = Deferred()
        self.health = DiskHealth(Path("/nowhere"), Clock(), lambda: succeed(None))
        self.stock = None

        self.scrubbed = self

    def held_bytes(self) -> int:
        return 0

    def survey_by(self, files_s: float | None, kept: object) -> None:
        pass

    def disk_use(self) -> DiskUse:
        return DiskUse()

    def tag(self, *_: object) -> None:
        return None

    def revoked_s(self, *_: object) -> float:
        return 0.0

    def stamp(self, *_: object) -> float:
        return 1.0

    def credential_changed(self, *_: object) -> Deferred[bool]:
        return self.compared


def built(access: io.StringIO | None, store: Any = None) -> Mirror:
    store = store or Disk()
    return build_mirror(settings(upstream("registry.example")), store, reactor, lambda: 0.0, access)


def connected(mirror: Mirror) -> tuple[Any, StringTransport]:
    protocol: Any = mirror.factory.buildProtocol(CLIENT)
    transport = StringTransport(peerAddress=CLIENT)
    protocol.makeConnection(transport)
    return protocol, transport


def test_a_client_is_answered_and_its_request_noted() -> None:
    access = io.StringIO()
    protocol, transport = connected(built(access))
    protocol.dataReceived(b"GET /v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n")
    protocol.connectionLost(Failure(ConnectionDone()))
    assert transport.value().startswith(b"HTTP/1.1 200 OK")
    assert " 127.0.0.1 GET /v2/ 200 " in access.getvalue()


def test_access_lines_can_be_off() -> None:
    protocol, transport = connected(built(None))
    protocol.dataReceived(b"GET /v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n")
    protocol.connectionLost(Failure(ConnectionDone()))
    assert transport.value().startswith(b"HTTP/1.1 200 OK")


def test_responses_under_way_are_counted_until_they_end_or_their_client_leaves() -> None:
    disk = Disk()
    disk.compared.callback(False)
    mirror = built(None, disk)
    mirror.begin()
    asked: list[Deferred[Any]] = []
    mirror.remotes["registry.example"].tags.get = lambda *_: asked.append(Deferred()) or asked[-1]
    protocol, _ = connected(mirror)
    protocol.dataReceived(b"GET /v2/app/manifests/1 HTTP/1.1\r\nHost: mirror\r\n\r\n")
    assert (mirror.responses(), len(asked)) == (1, 1)
    protocol.connectionLost(Failure(ConnectionDone()))
    assert mirror.responses() == 0
    asked[0].callback(None) if not asked[0].called else None
    mirror.stop()


ASK = b"GET /v2/app/manifests/1 HTTP/1.1\r\nHost: mirror\r\n\r\n"


@pytest.mark.parametrize("ends", [True, False, StorageFailed("full"), ZeroDivisionError()])
def test_content_waits_until_credentials_are_compared(ends: object) -> None:
    """Invariant 5: a link that the old credential earned is not served meanwhile; ``/v2/`` is."""
    disk = Disk()
    mirror = built(None, disk)
    asked: list[Deferred[Any]] = []
    mirror.remotes["registry.example"].tags.get = lambda *_: asked.append(Deferred()) or asked[-1]
    early, _ = connected(mirror)
    early.dataReceived(ASK)
    begun = mirror.begin()
    client, transport = connected(mirror)
    client.dataReceived(b"GET /v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n")
    assert transport.value().startswith(b"HTTP/1.1 200 OK")
    client.dataReceived(ASK)
    gone, _ = connected(mirror)
    gone.dataReceived(ASK)
    gone.connectionLost(Failure(ConnectionDone()))
    assert (asked, mirror.responses()) == ([], 2)
    begun.addErrback(lambda failure: failure.trap(ZeroDivisionError))
    disk.compared.errback(ends) if isinstance(ends, Exception) else disk.compared.callback(bool(ends))
    assert begun.called
    assert len(asked) == 1, "one question for all who wait"
    for protocol in (early, client):
        protocol.connectionLost(Failure(ConnectionDone()))
    mirror.stop()


async def test_all_upstreams_are_compared_at_once() -> None:
    class Slow(Disk):
        shown: list[str] = []

        def credential_changed(self, upstream: object, *_: object) -> Deferred[bool]:
            self.shown.append(str(upstream))
            return self.compared

    store: Any = Slow()
    comparing = Deferred.fromCoroutine(
        compare_credentials(settings(upstream("a.example"), upstream("b.example")), store)
    )
    assert store.shown == ["a.example", "b.example"]
    comparing.cancel()
    with pytest.raises(CancelledError):
        await comparing


async def test_each_upstream_shows_its_credential_once(tmp_path: Path) -> None:
    store = Notes()
    (tmp_path / "password").write_text("from a file\nrest")
    await compare_credentials(
        settings(
            upstream("open.example"),
            upstream("word.example", Credentials("mirror", "hunter2")),
            upstream("file.example", Credentials("mirror", password_file=tmp_path / "password")),
        ),
        store,  # type: ignore[arg-type]
    )
    assert store.shown == {
        "open.example": b"",
        "word.example": b"mirror\0hunter2",
        "file.example": b"mirror\0from a file",
    }


async def test_a_client_certificate_is_part_of_who_we_are(tmp_path: Path, lines: list[str]) -> None:
    """Another one's names are another's; a renewal keeps them; a file that cannot be read says nothing."""
    store: Any = Notes()
    pair = ClientCertificate(*self_signed().write(tmp_path, "us"))
    known = settings(attrs.evolve(upstream("a.example"), client_cert=pair))
    await compare_credentials(known, store)
    shown = dict(store.shown)
    assert b"regproxy testing" in shown["a.example"]
    self_signed().write(tmp_path, "us")
    await compare_credentials(known, store)
    pair.cert.unlink()
    await compare_credentials(known, store)
    assert store.shown == shown
    assert lines == []
    await compare_credentials(settings(upstream("a.example")), store)
    assert len(lines) == 1


async def test_a_changed_credential_is_one_line_without_it(lines: list[str]) -> None:
    store: Any = Notes()
    before = settings(upstream("a.example", Credentials("mirror", "hunter2")))
    after = attrs.evolve(before, upstreams=(upstream("a.example", Credentials("mirror", "hunter3")),))
    await compare_credentials(before, store)
    assert lines == []
    await compare_credentials(after, store)
    assert lines == ["a.example has another credential now: it is asked again for all"]


async def test_an_unreadable_password_file_and_a_full_disk_stop_nothing(
    lines: list[str], tmp_path: Path
) -> None:
    store: Any = Notes()
    missing = upstream("a.example", Credentials("mirror", password_file=tmp_path / "none"))
    await compare_credentials(settings(missing, upstream("b.example")), store)
    assert list(store.shown) == ["b.example"]
    store.refuses = True
    await compare_credentials(settings(upstream("b.example")), store)
    assert lines == ["The credential of b.example is not remembered: the disk is full"]


def test_upstreams_that_were_not_asked_hide_no_silence() -> None:
    pulse = Pulse(Clock().seconds)
    for name in ("a", "b"):
        pulse.watch(name, lambda: succeed(False))
    assert silence(pulse, ["a", "b"]) == ()
    pulse.failed("a", "down")
    assert silence(pulse, ["a", "b"]) == ("no upstream answers: only what is on disk is served",)
    pulse.answered("b")
    assert silence(pulse, ["a", "b"]) == ()


def test_an_operators_word_is_no_silence_and_hides_none() -> None:
    pulse, circuits = Pulse(Clock().seconds), {"a": Circuit.OFFLINE, "b": Circuit.OFFLINE}
    for name in circuits:
        pulse.watch(name, lambda: succeed(False), partial(circuits.__getitem__, name))
        pulse.answered(name)
    assert silence(pulse, ["a", "b"]) == ()
    circuits["b"] = Circuit.OPEN
    assert silence(pulse, ["a", "b"]) == ("no upstream answers: only what is on disk is served",)


def test_whether_an_upstream_answers_is_not_told_while_it_is_offline() -> None:
    """The figure is as it was as soon as it is online again."""
    pulse, remote, figures = Pulse(Clock().seconds), MemoryRemote("a.example"), Figures(["a.example"])
    pulse.watch("a.example", lambda: succeed(False), partial(circuit_of, remote))
    show_upstreams(figures, pulse, ["a.example"])

    def shown() -> float | None:
        return figures.registry.get_sample_value("regproxy_upstream_answers", {"upstream": "a.example"})

    pulse.answered("a.example")
    assert shown() == 1.0
    remote.stands = Standing(Circuit.OFFLINE)
    assert math.isnan(shown() or 0.0)
    remote.stands = Standing(Circuit.OPEN)
    assert shown() == 0.0
    remote.stands = Standing()
    assert shown() == 1.0
