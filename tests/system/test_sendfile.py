"""Bodies by sendfile, over real sockets: exact in every order of requests, at any pace, to any end."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable

import attrs
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from regproxy.errors import ContentMismatch, TransferStopped
from regproxy.listeners import listen_now
from regproxy.oci.digest import Digest
from regproxy.testing import actions
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from regproxy.web import sendfile
from regproxy.web.sendfile import FileJob, SendfileServer, takes_files
from tests.system.mirror import Mirror, World, upstream

pytestmark = pytest.mark.system

LARGE = os.urandom(3 << 20)
SMALL = b"small"
EMPTY = b""


@pytest_twisted.async_yield_fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[World]:
    """Three blobs on disk; every byte that goes by sendfile is counted in ``sent_by_kernel``."""
    registry = ScriptableRegistry(reactor)
    await registry.start()
    for content in (LARGE, SMALL, EMPTY):
        registry.put_blob("team/app", content)
    mirror = Mirror(tmp_path / "content", upstream(registry))
    await mirror.start()
    for content in (LARGE, SMALL, EMPTY):
        assert (await mirror.client.ask(path(content))).body == content
    await mirror.settled()
    yield World(registry, mirror)
    await mirror.stop()
    await registry.stop()


def path(content: bytes) -> str:
    return f"/v2/team/app/blobs/{Digest.of(content)}"


def request(content: bytes, method: str = "GET", **headers: str) -> bytes:
    lines = [f"{method} {path(content)} HTTP/1.1", "Host: mirror.test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@attrs.frozen
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


def converse(where: int | str, sent: bytes, methods: list[str]) -> list[Reply]:
    """Send all of ``sent`` at once, read an answer for each of ``methods`` by its length.

    ``where`` is a port, or the path of a unix socket.
    """
    family, address = (
        (socket.AF_UNIX, where) if isinstance(where, str) else (socket.AF_INET, ("127.0.0.1", where))
    )
    with socket.socket(family) as connection:
        connection.settimeout(20)
        connection.connect(address)
        connection.sendall(sent)
        stream = connection.makefile("rb")
        return [read_reply(stream, method) for method in methods]


def read_reply(stream, method: str) -> Reply:
    status = int(stream.readline().split()[1])
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value.strip()
    bare = method == "HEAD" or status in (204, 304)
    return Reply(status, headers, b"" if bare else stream.read(int(headers["content-length"])))


async def ask_all(world: World, sent: bytes, methods: list[str]) -> list[Reply]:
    port = int(world.mirror.netloc.rpartition(":")[2])
    return await deferToThread(converse, port, sent, methods)


async def test_large_and_small_pipelined_on_one_connection(world):
    wanted = [LARGE, SMALL, EMPTY, LARGE, SMALL, SMALL, LARGE]
    replies = await ask_all(world, b"".join(map(request, wanted)), ["GET"] * len(wanted))
    assert [reply.body for reply in replies] == wanted
    assert {reply.status for reply in replies} == {200}


async def test_heads_ranges_and_conditions_between_bodies(world):
    steps = [
        ("GET", request(LARGE), LARGE),
        ("HEAD", request(LARGE, "HEAD"), b""),
        ("GET", request(LARGE, Range="bytes=1000000-2999999"), LARGE[1000000:3000000]),
        ("GET", request(LARGE, If_None_Match=f'"{Digest.of(LARGE)}"'), b""),
        ("GET", request(LARGE, Range="bytes=-700000"), LARGE[-700000:]),
        ("GET", request(SMALL, Range="bytes=1-1"), b"m"),
        ("GET", request(LARGE), LARGE),
    ]
    replies = await ask_all(world, b"".join(sent for _, sent, _ in steps), [method for method, _, _ in steps])
    assert [reply.body for reply in replies] == [body for _, _, body in steps]
    assert [reply.status for reply in replies] == [200, 200, 206, 304, 206, 206, 200]


async def test_the_kernel_sends_them_and_the_record_counts_them(world, monkeypatch):
    seen = []
    real = os.sendfile

    def counting(*arguments: int) -> int:
        sent = real(*arguments)
        seen.append(sent)
        return sent

    monkeypatch.setattr(os, "sendfile", counting)
    records = []
    world.mirror.mirror.factory.record = records.append
    [reply] = await ask_all(world, request(LARGE), ["GET"])
    assert reply.body == LARGE
    assert sum(seen) > len(LARGE) // 2
    assert max(seen) <= sendfile.TURN_BYTES
    assert [(record.sent_bytes, record.complete) for record in records] == [(len(LARGE), True)]


@pytest.mark.parametrize("wrapped", ["", "haproxy:"])
async def test_clients_on_a_unix_socket_are_served(world, tmp_path, wrapped):
    """Not by sendfile; Twisted's port of a unix socket is one of TCP's as well."""
    where = str(tmp_path / "clients.sock")
    port = listen_now(reactor, f"{wrapped}unix:{where}", world.mirror.mirror.factory)
    sendfile.enable(port)
    header = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" if wrapped else b""
    wanted = [LARGE, SMALL, LARGE]
    replies = await deferToThread(
        converse, where, header + b"".join(map(request, wanted)), ["GET"] * len(wanted)
    )
    assert [reply.body for reply in replies] == wanted
    await port.stopListening()


async def test_a_body_that_follows_a_fill(world):
    fresh = os.urandom(2 << 20)
    world.registry.put_blob("team/app", fresh)
    gate = Gate()
    world.registry.script(Match(kind="blob"), actions.hold(gate, at=1 << 20))
    asking = ask_all(world, request(fresh) + request(SMALL), ["GET", "GET"])
    pending = Deferred.fromCoroutine(asking)
    await gate.arrived()
    assert not pending.called
    gate.open()
    first, second = await pending
    assert (first.body, second.body) == (fresh, SMALL)


async def test_a_fill_that_breaks_cuts_the_connection(world):
    fresh = os.urandom(2 << 20)
    world.registry.put_blob("team/app", fresh)
    world.registry.script(Match(kind="blob", ranged=True), actions.status(404))
    world.registry.script(Match(kind="blob", ranged=False), actions.cut(1 << 20))
    answer = await world.client.ask(path(fresh))
    assert (answer.status, answer.complete) == (200, False)
    assert fresh.startswith(answer.body)


async def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(world):
    huge = LARGE * 10
    world.registry.put_blob("team/app", huge)
    assert len((await world.client.ask(path(huge))).body) == len(huge)
    await world.mirror.settled()
    blob = world.mirror.root / "blobs" / "sha256" / Digest.of(huge).hex[:2] / Digest.of(huge).hex
    port = int(world.mirror.netloc.rpartition(":")[2])

    def shrink() -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(request(huge))
            got = len(connection.recv(1000))
            os.truncate(blob, 1000)
            try:
                while piece := connection.recv(1 << 20):
                    got += len(piece)
            except ConnectionResetError:
                pass
            return got

    assert await deferToThread(shrink) < len(huge)


async def test_clients_that_leave_at_any_byte_leave_no_file_open(world):
    port = int(world.mirror.netloc.rpartition(":")[2])

    def leave(after: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(request(LARGE))
            while after > 0:
                after -= len(connection.recv(min(after, 65536)))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def open_blobs() -> int:
        held = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        blobs = str(world.mirror.root / "blobs")
        return sum(os.readlink(fd).startswith(blobs) for fd in held if os.path.islink(fd))

    for after in (0, 1, 500, 70_000, 400_000, 1 << 20, len(LARGE) - 1):
        await deferToThread(leave, after)
    await until(lambda: open_blobs() == 0)
    assert (await world.client.ask(path(LARGE))).body == LARGE


async def until(holds: Callable[[], bool]) -> None:
    """Let the reactor turn until it holds, some seconds at most."""
    from twisted.internet.task import deferLater

    for _ in range(500):
        if holds():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it never came to hold")


class FakeSocket(SendfileServer):
    """The parts of a connection that a job uses, without one."""

    def __init__(self) -> None:
        self.writing = False
        self.dataBuffer, self._tempDataBuffer = b"", []
        self.disconnecting = False

    def fileno(self) -> int:
        return 99

    def startWriting(self) -> None:
        self.writing = True

    def stopWriting(self) -> None:
        self.writing = False


class FakeBody:
    """Gives counts, None, or errors, in turn."""

    def __init__(self, *turns: int | BaseException | None) -> None:
        self.turns = list(turns)
        self.waiting: Deferred[None] = Deferred()

    def send_file(self, socket_fd: int, max_bytes: int) -> int | None:
        turn = self.turns.pop(0)
        if isinstance(turn, BaseException):
            raise turn
        return None if turn is None else min(turn, max_bytes)

    def ready(self) -> Deferred[None]:
        return self.waiting


def job_of(body: FakeBody, length: int = 100) -> tuple[FileJob, FakeSocket, list[object]]:
    connection = FakeSocket()
    job = FileJob(connection, body, length, "registry.test")
    outcome: list[object] = []
    job.done.addBoth(outcome.append)
    connection.send_file(job)
    return job, connection, outcome


def test_a_job_sleeps_while_the_body_has_nothing_and_wakes_with_it():
    body = FakeBody(60, None, 40)
    job, connection, outcome = job_of(body)
    connection.doWrite()
    connection.doWrite()
    assert (job.sent_bytes, connection.writing) == (60, False)
    assert outcome == []
    body.waiting.callback(None)
    assert connection.writing
    connection.doWrite()
    assert (outcome, job.sent_bytes, connection.writing) == ([None], 100, False)


def test_a_body_that_ends_early_is_a_mismatch():
    _, connection, outcome = job_of(FakeBody(60, 0))
    connection.doWrite()
    connection.doWrite()
    assert outcome[0].check(ContentMismatch)


def test_what_the_body_raises_ends_the_job():
    _, connection, outcome = job_of(FakeBody(TransferStopped("x")))
    connection.doWrite()
    assert outcome[0].check(TransferStopped)
    assert not connection.writing


def test_a_broken_socket_is_a_lost_connection():
    job, connection, outcome = job_of(FakeBody(BrokenPipeError()))
    assert connection.doWrite() is not None
    job.stopProducing()
    assert outcome[0].check(TransferStopped)


def test_cancelling_ends_the_job_and_a_body_that_wakes_later_does_nothing():
    body = FakeBody(None)
    job, connection, outcome = job_of(body)
    connection.doWrite()
    job.done.cancel()
    assert len(outcome) == 1
    body.waiting.callback(None)
    assert not connection.writing


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 200))
def test_never_a_byte_more_than_was_promised(turns, length):
    turns += [200]
    job, connection, outcome = job_of(FakeBody(*turns), length)
    while not outcome:
        connection.doWrite()
    assert job.sent_bytes == length


def test_only_plain_tcp_takes_files():
    assert not takes_files(object(), FakeBody())
    assert not takes_files(FakeSocket(), FakeBody())
