"""Hostile and odd requests over real sockets, beside a transfer that none of them may disturb."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from regproxy.oci.digest import Digest
from regproxy.settings import LogSettings
from regproxy.testing.images import sized_image
from regproxy.testing.registry import ScriptableRegistry
from tests.system.hostile import HOSTILE, MANIFEST, Case, get
from tests.system.mirror import Mirror, upstream
from tests.system.sockets import Answer, Talk, Transfer

pytestmark = pytest.mark.system

IMAGE = sized_image(5000)
BESIDE = os.urandom(24 << 20)
WITH_A_PORT = "registry.test:5000"


class Lines:
    """The access log, as records."""

    def __init__(self) -> None:
        self.records: list[dict[str, object]] = []

    def write(self, text: str) -> None:
        assert text.count("\n") == 1
        assert text.isascii()
        self.records.append(json.loads(text))


@attrs.define
class World:
    registry: ScriptableRegistry
    mirror: Mirror
    lines: Lines

    def others(self) -> list[dict[str, object]]:
        """The records of whatever is no pull of the transfer beside."""
        return [one for one in self.lines.records if "/beside/" not in str(one["path"])]

    def asked(self) -> list[str]:
        """What reached the upstream beside that transfer."""
        return [record.path for record in self.registry.requests if record.repository != "beside/app"]

    async def quiet(self) -> None:
        """Every connection has ended."""
        for _ in range(1000):
            if self.mirror.mirror.factory.connections.open == 0:
                return
            await deferLater(reactor, 0.01)
        raise AssertionError(f"stuck: {self.mirror.mirror.factory.connections}")


@pytest_twisted.async_yield_fixture
async def world(tmp_path) -> AsyncIterator[World]:
    registry = ScriptableRegistry(reactor)
    await registry.start()
    registry.put_image("team/app", "latest", IMAGE)
    digest = registry.put_blob("beside/app", BESIDE)
    lines = Lines()
    upstreams = upstream(registry, hosts=("ours.test",)), upstream(registry, name=WITH_A_PORT, default=False)
    mirror = Mirror(tmp_path / "content", *upstreams, access=lines, log=LogSettings("json"))
    await mirror.start()
    transfer = Transfer(mirror.netloc, f"/v2/beside/app/blobs/{digest}", digest)
    transfer.start()
    there = World(registry, mirror, lines)
    yield there
    await deferToThread(transfer.end)
    await there.quiet()
    assert mirror.mirror.responses() == 0
    await mirror.stop()
    await registry.stop()


def converse(netloc: str, case: Case) -> Answer:
    """Send it; the one answer that comes."""
    with Talk(netloc) as talk:
        talk.send(case.data)
        answer = talk.answer()
        assert answer is not None, f"{case.name}: closed without an answer"
        if answer.closes or case.ends:
            assert talk.rest() == b"", f"{case.name}: something came behind the answer"
            assert answer.closes, f"{case.name}: the connection ends unsaid"
        return answer


def judge(case: Case, answer: Answer) -> None:
    assert answer.status in case.statuses, (case.name, answer)
    assert answer.headers["content-type"] == "application/json", case.name
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0", case.name
    [error] = json.loads(answer.body)["errors"]
    assert error["code"], case.name
    assert error["message"], case.name
    assert "Injected" not in answer.headers, case.name


@pytest.mark.parametrize("kind", HOSTILE)
async def test_each_gets_a_clear_4xx_and_a_line_that_names_the_cause(world, kind):
    for case in HOSTILE[kind]:
        seen = len(world.others())
        judge(case, await deferToThread(converse, world.mirror.netloc, case))
        [line] = world.others()[seen:]
        assert line["status"] in case.statuses, case.name
        assert case.cause in line["cause"], (case.name, line)
        assert line["cause"], case.name
        assert "secret" not in json.dumps(line), case.name
    assert world.asked() == [], "nothing of it reached an upstream"
    kept = [path for folder in ("blobs", "repositories") for path in world.mirror.files(folder)]
    strange = [path for path in kept if "beside" not in str(path) and "blobs" not in path.parts]
    assert [path for path in strange if path.name != "_credential"] == []


def ask_all(netloc: str, data: bytes, methods: Sequence[bytes]) -> list[Answer | None]:
    """Send all of it at once; an answer for each of ``methods``."""
    with Talk(netloc) as talk:
        talk.send(data)
        return [talk.answer(method) for method in methods]


ODD = {
    "absolute form": (get(b"http://ours.test" + MANIFEST.encode()), 200),
    "absolute form, with a port": (get(b"http://ours.test:5000/v2/", host=b"ours.test:5000"), 200),
    "absolute form, of https": (get(b"HTTPS://Ours.Test/v2/"), 200),
    "absolute form, whatever Host says": (get(b"http://ours.test/v2/", host=b"other.test"), 200),
    "HTTP/1.0": (b"GET " + MANIFEST.encode() + b" HTTP/1.0\r\n\r\n", 200),
    "HTTP/1.0 with a Host": (get(MANIFEST.encode(), version=b"HTTP/1.0"), 200),
    "Expect": (get(MANIFEST.encode(), b"Expect: 100-continue", b"Content-Length: 2") + b"{}", 200),
    "Expect of something else": (get(b"/v2/", b"Expect: wonders"), 200),
    "a small body": (get(MANIFEST.encode(), b"Content-Length: 5") + b"hello", 200),
    "the largest small body": (get(b"/v2/", b"Content-Length: 65536") + bytes(65536), 200),
    "an empty body": (get(MANIFEST.encode(), b"Content-Length: 0"), 200),
    "ns with a port": (get(f"{MANIFEST}?ns={WITH_A_PORT}".encode()), 200),
    "ns with an escaped port": (get(f"{MANIFEST}?ns=registry.test%3A5000".encode()), 200),
    "an empty line in front": (b"\r\n" + get(b"/v2/"), 200),
    "Host with a port": (get(b"/v2/", host=b"mirror.test:5000"), 200),
    "Host in IPv6": (get(b"/v2/", host=b"[::1]:5000"), 200),
    "an empty Host": (get(b"/v2/", host=b""), 200),
    "blanks around a value": (get(b"/v2/", b"X:\t y \t"), 200),
    "names in any case": (get(b"/v2/", b"aCCEPT: */*", b"CONTENT-length: 0"), 200),
    "a foreign Authorization": (get(MANIFEST.encode(), b"Authorization: Basic eDp5"), 200),
    "a long but lawful head": (get(b"/v2/", *[b"X: " + b"y" * 1000] * 15), 200),
    "100 cookies": (get(b"/v2/", *[b"Cookie: a=b; c"] * 100), 200),
}


@pytest.mark.parametrize("name", ODD)
async def test_odd_but_right_is_served(world, name):
    data, status = ODD[name]
    [answer] = await deferToThread(ask_all, world.mirror.netloc, data, [b"GET"])
    assert answer is not None
    assert answer.status == status, answer
    if MANIFEST.encode() in data:
        assert Digest.parse(answer.headers["docker-content-digest"]).matches(answer.body)


async def test_a_body_is_invited_only_where_it_is_wanted(world):
    """100 Continue before a small body; a large one is refused in its place."""

    def wait_for_it() -> tuple[bytes, int]:
        with Talk(world.mirror.netloc) as talk:
            talk.send(get(b"/v2/", b"Expect: 100-continue", b"Content-Length: 5"))
            invitation = talk.socket.recv(1000)
            talk.send(b"hello")
            answer = talk.answer()
            assert answer is not None
            return invitation, answer.status

    assert await deferToThread(wait_for_it) == (b"HTTP/1.1 100 Continue\r\n\r\n", 200)


def in_a_row() -> tuple[bytes, list[bytes], list[int]]:
    blobs = [str(digest) for digest, content in IMAGE.blobs.items() if len(content) == 5000]
    kinds = [
        (b"GET", MANIFEST.encode(), 200),
        (b"GET", f"/v2/team/app/blobs/{blobs[0]}".encode(), 200),
        (b"HEAD", f"/v2/team/app/blobs/{blobs[0]}".encode(), 200),
        (b"GET", b"/v2/team/app/blobs/sha256:" + b"b" * 64, 404),
        (b"GET", b"/v2/UPPER/manifests/x", 400),
        (b"HEAD", b"/v2/", 200),
        (b"DELETE", b"/v2/team/app/manifests/latest", 405),
    ] * 6
    data = b"".join(get(target).replace(b"GET", method, 1) for method, target, _ in kinds)
    return data, [method for method, _, _ in kinds], [status for _, _, status in kinds]


async def test_requests_in_a_row_are_answered_in_a_row(world):
    data, methods, statuses = in_a_row()
    answers = await deferToThread(ask_all, world.mirror.netloc, data, methods)
    assert [answer and answer.status for answer in answers] == statuses


async def test_a_client_that_leaves_in_the_middle_of_a_row(world):
    """Of small answers and of a large one: nobody else notices, nothing is left over."""
    row, _, _ = in_a_row()
    large = get(f"/v2/beside/app/blobs/{Digest.of(BESIDE)}".encode())

    def leave(data: bytes, after: int) -> None:
        with Talk(world.mirror.netloc) as talk:
            talk.send(data)
            taken = 0
            while taken < after:
                taken += len(talk.socket.recv(min(after - taken, 65536)))

    for after in (0, 1, 100, 7000, 60_000):
        await deferToThread(leave, row + row, after)
        await deferToThread(leave, large * 3 + row, after)
        await deferToThread(leave, large * 2, after + (1 << 20))
    [answer] = await deferToThread(ask_all, world.mirror.netloc, get(b"/v2/"), [b"GET"])
    assert answer is not None
    assert answer.status == 200
