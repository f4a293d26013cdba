"""What clients may take up, over real sockets: places, time, and the patience of slow readers."""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from regproxy.oci.digest import Digest
from regproxy.settings import AccessSettings, LimitSettings, LogSettings
from regproxy.testing import actions
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.rules import Match
from tests.system.hostile import get
from tests.system.mirror import Mirror, upstream
from tests.system.sockets import Talk
from tests.system.test_hostile_requests import Lines, World

pytestmark = pytest.mark.system

CONTENT = os.urandom(12 << 20)
PATH = f"/v2/team/app/blobs/{Digest.of(CONTENT)}".encode()
WINDOW_S = 0.5
LIMITS = LimitSettings(connections=8, header_s=0.5, idle_s=0.5, slow_reader_bytes_s=200_000)


@pytest_twisted.async_yield_fixture
async def world(tmp_path) -> AsyncIterator[World]:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_blob("team/app", CONTENT)
    lines = Lines()
    mirror = Mirror(
        tmp_path / "content", upstream(registry), access=lines, log=LogSettings("json"), limits=LIMITS
    )
    await mirror.start()
    mirror.mirror.factory.window_s = WINDOW_S
    there = World(registry, mirror, lines)
    yield there
    await there.quiet()
    await mirror.stop()
    await registry.stop()


def served(netloc: str) -> bool:
    """Whether a newcomer is served."""
    with Talk(netloc) as talk:
        talk.send(get(b"/v2/", b"Connection: close"))
        answer = talk.answer()
        return answer is not None and answer.status == 200


async def test_beyond_the_limit_a_client_is_told_and_nobody_else_notices(world):
    """The one who is in the middle of a transfer gets every byte."""
    netloc = world.mirror.netloc

    def crowd() -> None:
        with Talk(netloc, receive_bytes=65536) as early:
            early.send(get(PATH, b"Connection: close"))
            head = early.socket.recv(1000)
            assert b" 200 OK" in head
            others = [Talk(netloc) for _ in range(LIMITS.connections - 1)]
            for other in others:
                other.send(get(b"/v2/"))
                assert other.answer().status == 200
            for method in (b"GET", b"HEAD"):
                with Talk(netloc) as late:
                    late.send(get(PATH).replace(b"GET", method, 1) + get(b"/v2/"))
                    answer = late.answer(method)
                    assert late.rest() == b""
                assert (answer.status, answer.headers["retry-after"], answer.closes) == (503, "30", True)
                if method == b"GET":
                    [error] = json.loads(answer.body)["errors"]
                    assert error["code"] == "UNAVAILABLE"
                    assert "limits.connections" in error["message"]
            others.pop().socket.close()
            deadline_s = time.monotonic() + 10
            while not served(netloc):
                assert time.monotonic() < deadline_s, "a place that was left stays taken"
            body = head.partition(b"\r\n\r\n")[2] + early.rest()
            assert body == CONTENT
            for other in others:
                other.socket.close()

    await deferToThread(crowd)
    crowded = [line for line in world.lines.records if line.get("note") == "crowded"]
    assert len(crowded) >= 2
    assert {line["status"] for line in crowded} == {503}
    assert "limits.connections" in crowded[0]["cause"]
    text = world.mirror.mirror.figures.registry
    assert text.get_sample_value("regproxy_refused_connections_total", {"limit": "connections"}) >= 2
    assert text.get_sample_value("regproxy_refused_connections_total", {"limit": "per_address"}) == 0


async def test_a_flood_beyond_the_limit_is_dropped(world, monkeypatch):
    """So many are told so at once; the rest cost an accept and a reset each."""
    netloc = world.mirror.netloc
    world.mirror.mirror.factory.limits = attrs.evolve(LIMITS, idle_s=60.0)
    monkeypatch.setattr("regproxy.http1.connections.MAX_TURNED_AWAY", 10)

    def flood() -> int:
        inside = [Talk(netloc) for _ in range(LIMITS.connections)]
        for one in inside:
            one.send(get(b"/v2/"))
            assert one.answer().status == 200
        beyond: list[Talk] = []
        dropped = 0
        for _ in range(30):
            try:
                beyond.append(Talk(netloc))
            except ConnectionResetError:  # before connect() had returned
                dropped += 1
            else:
                beyond[-1].send(get(b"/v2/"))
        for one in beyond:
            try:
                answer = one.answer()
            except ConnectionResetError:
                answer = None
            assert answer is None or answer.status == 503
            dropped += answer is None
        for one in (*inside, *beyond):
            one.socket.close()
        return dropped

    assert 1 <= await deferToThread(flood) <= 20


async def test_who_is_silent_or_slow_to_ask_is_cut(world):
    """By a clock that no byte puts off."""
    netloc = world.mirror.netloc

    def linger(pieces: list[bytes], step_s: float) -> tuple[bytes, float]:
        with Talk(netloc) as talk:
            began_s = time.monotonic()
            for piece in pieces:
                if not talk.send(piece):
                    break
                time.sleep(step_s)
            return talk.rest(), time.monotonic() - began_s

    for pieces, note in (
        ([], "silent"),
        ([b"GET /v2/ HT"], "late"),
        ([bytes([byte]) for byte in get(b"/v2/", *[b"X: y"] * 40)], "late"),
        ([get(b"/v2/", b"Content-Length: 100"), *[b"x"] * 90], "late"),
    ):
        answer, took_s = await deferToThread(linger, pieces, 0.02)
        assert answer == b"", note
        assert LIMITS.header_s * 0.9 <= took_s < LIMITS.header_s + 3, note
        line = world.lines.records[-1]
        assert (line["status"], line["note"]) == (408, note)
        assert line["cause"].endswith("in 0.5 seconds")
    answer, took_s = await deferToThread(linger, [get(b"/v2/")], 0)
    assert answer.startswith(b"HTTP/1.1 200 OK"), "and an idle connection is closed"
    assert took_s < LIMITS.idle_s + 3


def read_at(netloc: str, bytes_s: int, step_s: float, want: bytes) -> bytes:
    """Read at a pace; what came until the end."""
    with Talk(netloc, receive_bytes=16_384) as talk:
        talk.send(want)
        got, cut = bytearray(), select.poll()
        cut.register(talk.socket, 0)  # errors alone: what lies in the socket could be read for minutes
        while not cut.poll(0):
            piece = talk.socket.recv(max(1, int(bytes_s * step_s)))
            if not piece:
                break
            got += piece
            time.sleep(step_s)
        return bytes(got)


@pytest.mark.parametrize("by", ["sendfile", "copying"])
async def test_a_reader_of_a_byte_at_a_time_is_cut_and_one_on_a_thin_line_is_not(world, by, monkeypatch):
    """The pace of the first is that of one byte a second to the default limit; the other one's is honest."""
    if by == "copying":
        monkeypatch.setattr("regproxy.web.senders.takes_files", lambda transport, body: False)
    netloc = world.mirror.netloc
    assert await deferToThread(served, netloc)
    tail = get(PATH, f"Range: bytes=-{4 << 20}".encode(), b"Connection: close")
    honest = deferToThread(read_at, netloc, 1_000_000, 0.02, tail)
    began_s = time.monotonic()
    cut = await deferToThread(read_at, netloc, 100, 0.02, get(PATH, b"Connection: close"))
    assert len(cut) < len(CONTENT) // 2
    assert time.monotonic() - began_s < 8 * WINDOW_S
    assert (await honest).endswith(CONTENT[-(4 << 20) :])
    [line] = [line for line in world.lines.records if line.get("note") == "slow"]
    assert (line["status"], line["complete"]) == (200, False)
    assert "the client took" in line["cause"]


async def test_nobody_is_cut_for_a_slow_upstream(world):
    """Which drips for many windows, slower than a client may be."""
    content = os.urandom(40_000)
    digest = world.registry.put_blob("team/app", content)
    world.registry.script(Match(kind="blob"), actions.drip(1000, 0.1))
    target = f"/v2/team/app/blobs/{digest}".encode()
    answer = await deferToThread(
        read_at, world.mirror.netloc, 1 << 20, 0.01, get(target, b"Connection: close")
    )
    assert answer.endswith(content)
    assert [line.get("note") for line in world.lines.records if line["status"] == 200] == [None]


async def test_who_has_taken_all_but_the_end_of_a_transfer_is_not_held_for_ever(world):
    """One who stops reading: the connection goes, with the file that it held open."""

    def stop_reading() -> socket.socket:
        talk = Talk(world.mirror.netloc, receive_bytes=16_384)
        talk.send(get(PATH))
        talk.socket.recv(1000)
        return talk.socket

    stuck = await deferToThread(stop_reading)
    for _ in range(500):
        if world.mirror.mirror.factory.connections.open == 0:
            break
        await deferLater(reactor, 0.02)
    assert world.mirror.mirror.factory.connections.open == 0
    assert world.mirror.mirror.responses() == 0
    stuck.close()


async def test_one_address_may_have_so_many(tmp_path):
    registry = ScriptableRegistry(reactor)
    await registry.start()
    mirror = Mirror(tmp_path / "content", upstream(registry), limits=LimitSettings(per_address=2))
    await mirror.start()

    def from_two_addresses() -> None:
        first, second = Talk(mirror.netloc), Talk(mirror.netloc)
        for one in (first, second):
            one.send(get(b"/v2/"))
            assert one.answer().status == 200
        with Talk(mirror.netloc) as third:
            third.send(get(b"/v2/"))
            answer = third.answer()
            assert answer.status == 503
            assert b"limits.per_address" in answer.body
        host, _, port = mirror.netloc.rpartition(":")
        with socket.create_connection((host, int(port)), 10, ("127.0.0.2", 0)) as other:
            other.sendall(get(b"/v2/"))
            assert other.recv(100).startswith(b"HTTP/1.1 200")
        for one in (first, second):
            one.socket.close()

    await deferToThread(from_two_addresses)
    while mirror.mirror.factory.connections.open or mirror.mirror.factory.connections.leaving:
        await deferLater(reactor, 0.01)
    await mirror.stop()
    await registry.stop()


async def test_strangers_take_no_place(tmp_path):
    """Whoever is outside of the networks keeps nobody out who is inside, however it lingers."""
    registry = ScriptableRegistry(reactor)
    await registry.start()
    access = AccessSettings(networks=(ip_network("127.0.0.1/32"),))
    lines = Lines()
    mirror = Mirror(
        tmp_path / "content",
        upstream(registry),
        access=lines,
        log=LogSettings("json"),
        limits=LimitSettings(connections=1),
        clients=access,
    )
    await mirror.start()

    def beside_strangers() -> None:
        host, _, port = mirror.netloc.rpartition(":")
        reach = (host, int(port)), 10, ("127.0.0.2", 0)
        with socket.create_connection(*reach), socket.create_connection(*reach) as asking:
            asking.sendall(b"POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
            assert asking.recv(100).startswith(b"HTTP/1.1 403")
            assert served(mirror.netloc)

    await deferToThread(beside_strangers)
    assert [(line["status"], line.get("note")) for line in lines.records] == [(403, "stranger"), (200, None)]
    while mirror.mirror.factory.connections.open or mirror.mirror.factory.connections.leaving:
        await deferLater(reactor, 0.01)
    await mirror.stop()
    await registry.stop()


async def test_a_connection_is_not_idle_while_its_client_still_takes(world):
    """The system holds megabytes of an answer that is written: that is not the end of its transfer."""
    size = 3 << 20

    def read_on() -> tuple[int, int]:
        with Talk(world.mirror.netloc, receive_bytes=16_384) as talk:
            talk.send(get(PATH, f"Range: bytes=-{size}".encode()))
            for _ in range(150):
                talk.peeked(20_000)
                time.sleep(0.01)
            first = talk.answer()
            talk.send(get(b"/v2/"))
            second = talk.answer()
            assert first is not None
            assert second is not None
            assert first.body == CONTENT[-size:]
            return first.status, second.status

    assert await deferToThread(read_on) == (206, 200)
