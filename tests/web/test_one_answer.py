"""What a client does not take is one answer; a client that leaves was not answered. Real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, globalLogPublisher
from zope.interface import implementer

from regproxy.interfaces import IFileBody
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.web.sendfile import enable
from tests.web.doubles import REPOSITORY, Front, MemoryRegistry, ScriptedBlob, ScriptedBody, filled
from tests.web.wire import get

LARGE = Manifest.receive(
    b'{"schemaVersion":2,"x":"' + b"x" * 3_000_000 + b'"}', "application/vnd.oci.image.manifest.v1+json"
)
ENDLESS = Digest.of(b"endless")
ASK_LARGE = get(f"/v2/nginx/manifests/{LARGE.digest}".encode())
ASK_ENDLESS = get(f"/v2/nginx/blobs/{ENDLESS}".encode())


async def until(holds: Callable[[], object]) -> None:
    for _ in range(500):
        if holds():
            return
        await deferLater(reactor, 0.01, lambda: None)
    raise AssertionError("it does not come")


@pytest.fixture(name="told")
def _told() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def registry() -> MemoryRegistry:
    memory = filled()
    memory.manifest_map[REPOSITORY, LARGE.digest] = LARGE
    return memory


async def test_requests_behind_an_answer_that_is_not_taken_wait() -> None:
    async with Front(registry()) as front:
        client = await front.connect()
        client.transport.pauseProducing()
        client.transport.write(ASK_LARGE * 4)
        await until(lambda: front.registry.calls)
        await deferLater(reactor, 0.1, lambda: None)
        assert len(front.registry.calls) == 1
        assert front.records == [], "it has not been answered yet"
        client.transport.resumeProducing()
        await until(lambda: len(front.records) == 4)
        await until(lambda: len(client.data) > 4 * len(LARGE.content))
        assert client.data.count(LARGE.content) == 4
        assert {record.complete for record in front.records} == {True}


async def test_a_client_that_leaves_while_its_answer_is_held_is_recorded_as_cut() -> None:
    async with Front(registry()) as front:
        client = await front.connect()
        client.transport.pauseProducing()
        client.transport.write(ASK_LARGE * 2)
        await until(lambda: front.registry.calls)
        client.transport.abortConnection()
        await client.ended()
        await until(lambda: front.records)
        assert [record.complete for record in front.records] == [False]
        assert len(front.registry.calls) == 1


async def test_a_client_that_takes_nothing_of_a_held_answer_is_aborted() -> None:
    async with Front(registry()) as front:
        front.site.window_s = 0.2
        client = await front.connect()
        client.transport.pauseProducing()
        client.transport.write(ASK_LARGE * 2)
        await until(lambda: front.records)
        assert [(record.complete, record.note) for record in front.records] == [(False, "slow")]
        assert "took nothing" in front.records[0].cause


@implementer(IFileBody)
class FileBody(ScriptedBody):
    """Zeroes without end, by read and by sendfile."""

    def __init__(self) -> None:
        super().__init__()
        self._file = os.open("/dev/zero", os.O_RDONLY)

    def read(self, max_bytes: int) -> bytes:
        return bytes(max_bytes)

    def send_file(self, out: int, max_bytes: int) -> int | None:
        return os.write(out, bytes(min(max_bytes, 65536)))

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()


class Endless(ScriptedBody):
    """Zeroes without end, by read only."""

    def read(self, max_bytes: int) -> bytes:
        return bytes(max_bytes)


@pytest.mark.parametrize("by_sendfile", [False, True])
async def test_a_client_that_leaves_a_body_is_cut_and_what_it_sent_behind_is_dropped(
    by_sendfile: bool, told: list[LogEvent]
) -> None:
    """On a socket a producer is stopped before the connection is said to be lost."""
    bodies: list[ScriptedBody] = []

    def make(start: int, stop: int | None) -> ScriptedBody:
        bodies.append(FileBody() if by_sendfile else Endless())
        return bodies[-1]

    memory = registry()
    memory.blob_map[REPOSITORY, ENDLESS] = ScriptedBlob(1 << 40, make)
    async with Front(memory) as front:
        if by_sendfile:
            enable(front.port)
        port = front.port.getHost().port

        def leave() -> None:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(ASK_ENDLESS + get(b"/v2/nginx/manifests/latest"))
                client.recv(100_000)

        await deferToThread(leave)
        await until(lambda: front.records)
        await deferLater(reactor, 0.05, lambda: None)
        assert [(record.status, record.complete) for record in front.records] == [(200, False)]
        assert front.registry.calls == ["blobs.open"]
        assert bodies[0].closed
        assert [event for event in told if "aborted" in event.get("log_format", "")] == []
