"""What clients that read parts ask of a blob that nobody has pulled before: one copy of it from upstream.

The patterns are those of containerd 2 with parallel chunks, of the lazy snapshotters (stargz, SOCI, nydus)
and of zstd:chunked; upstream's bytes are counted where they arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest

from regproxy.extents import Extents
from regproxy.fill.lines import Lines
from tests.faults.cold import CONTENT, DIGEST, ON_ITS_WAY, SIZE, Client, Cold, cold

both = pytest.mark.parametrize("connections", [1, 4])
CHUNK = 2500


def one_copy(mirror: Cold, closed: int = 1) -> None:
    """All of it has come, nothing twice but what was on its way to the first when it was ``closed``."""
    mirror.finish()
    assert mirror.kept()
    assert Extents((body.start, body.start + body.arrived) for body in mirror.bodies).total == SIZE
    assert mirror.twice <= closed * ON_ITS_WAY, mirror.bodies


def is_part(client: Client, start: int, stop: int) -> None:
    reply = client.reply
    assert (reply.status, reply.headers["content-range"]) == (206, f"bytes {start}-{stop - 1}/{SIZE}")
    assert reply.body == CONTENT[start:stop]


class Containerd:
    """Parallel chunks: ``bytes=0-`` first, then ``bytes=<offset>-`` from each of a few workers, which hang
    up once they have their chunk."""

    def __init__(self, mirror: Cold, workers: int) -> None:
        self.mirror = mirror
        self.left = list(range(CHUNK, SIZE, CHUNK))
        self.busy = {0: mirror.ask("0-")}
        self.workers = workers
        self.got: dict[int, bytes] = {}
        self.statuses: set[int] = set()

    def begin(self) -> bool:
        """The others start when the first one's headers are there."""
        if self.busy.get(0) is not None and self.busy[0].head is None:
            return False
        while self.left and len(self.busy) < self.workers:
            start = self.left.pop(0)
            self.busy[start] = self.mirror.ask(f"{start}-")
        return True

    def look(self) -> bool:
        """Hang up where a chunk is there; whether all are."""
        self.begin()
        for start, client in list(self.busy.items()):
            if len(client.body) >= min(CHUNK, SIZE - start):
                assert client.head is not None
                self.statuses.add(client.head[0])
                self.got[start] = client.body[:CHUNK]
                client.close()
                del self.busy[start]
        return not self.left and not self.busy


@both
@pytest.mark.parametrize("workers", [2, 3, 8])
def test_containerds_parallel_chunks(connections: int, workers: int) -> None:
    with cold(connections=connections) as mirror:
        client = Containerd(mirror, workers)
        mirror.loopback.until(client.look)
        assert b"".join(client.got[start] for start in sorted(client.got)) == CONTENT
        assert client.statuses == {206}
        one_copy(mirror)


def test_containerds_chunks_of_an_upstream_that_serves_no_ranges() -> None:
    """One connection, and whoever is ahead of it waits."""
    with cold() as mirror:
        mirror.registry.quirks = type(mirror.registry.quirks)(ranges=False)
        client = Containerd(mirror, 4)
        mirror.loopback.until(client.look)
        assert b"".join(client.got[start] for start in sorted(client.got)) == CONTENT
        one_copy(mirror, closed=0)
        assert mirror.gets == 1


def lazily(mirror: Cold, *spans: tuple[str, int, int]) -> None:
    """Small reads, one after the other, each at once though the blob is far from there."""
    for asked, start, stop in spans:
        before = mirror.loopback.seconds()
        client = mirror.ask(asked)
        mirror.loopback.until(lambda reading=client: reading.over)
        is_part(client, start, stop)
        assert mirror.loopback.seconds() - before < 2, "it need not wait for the whole blob"
        client.close()


STARGZ = [
    ("0-1", 0, 2),  # does it serve ranges, and how large is it
    (f"{SIZE - 51}-{SIZE - 1}", SIZE - 51, SIZE),  # the footer
    (f"{SIZE - 1500}-{SIZE - 52}", SIZE - 1500, SIZE - 51),  # the table of contents
    ("9000-9099", 9000, 9100),
    ("9100-9299", 9100, 9300),
    ("3000-3099", 3000, 3100),
    ("15000-15999", 15000, 16000),
]
SOCI = [
    (f"{start}-{start + 399}", start, start + 400)
    for start in (12_000, 12_400, 5000, 5400, 18_000, 400, 0)
]  # fmt: skip
NYDUS = [("-600", SIZE - 600, SIZE), ("-100", SIZE - 100, SIZE), ("8000-8999", 8000, 9000)]


@both
@pytest.mark.parametrize("pattern", [STARGZ, SOCI, NYDUS], ids=["stargz", "soci", "nydus"])
def test_lazy_snapshotters(connections: int, pattern: list[tuple[str, int, int]]) -> None:
    with cold(connections=connections) as mirror:
        lazily(mirror, *pattern)
        assert mirror.fetched < SIZE, "it went on without the rest"
        one_copy(mirror)


@both
def test_small_reads_all_at_once(connections: int) -> None:
    with cold(connections=connections) as mirror:
        clients = {start: mirror.ask(f"{start}-{start + 99}") for start in range(19_900, 0, -1990)}
        mirror.finish()
        for start, client in clients.items():
            is_part(client, start, start + 100)
        one_copy(mirror)


@both
def test_parts_and_the_whole_at_once(connections: int) -> None:
    with cold(connections=connections) as mirror:
        footer, whole = mirror.ask("-51"), mirror.ask()
        mirror.loopback.until(lambda: footer.over)
        late, first = mirror.ask("17000-17999"), mirror.ask("0-99")
        mirror.finish()
        is_part(footer, SIZE - 51, SIZE)
        is_part(late, 17_000, 18_000)
        is_part(first, 0, 100)
        assert (whole.reply.status, whole.reply.body) == (200, CONTENT)
        one_copy(mirror)


@both
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("-1", SIZE - 1, SIZE),
        (f"-{SIZE}", 0, SIZE),
        (f"-{SIZE * 9}", 0, SIZE),
        (f"{SIZE - 1}-", SIZE - 1, SIZE),
        (f"{SIZE - 10}-{SIZE + 10}", SIZE - 10, SIZE),
        ("0-", 0, SIZE),
        ("0-0", 0, 1),
    ],
)
def test_spans_at_the_ends(connections: int, asked: str, start: int, stop: int) -> None:
    with cold(connections=connections) as mirror:
        client = mirror.ask(asked)
        mirror.finish()
        is_part(client, start, stop)
        one_copy(mirror)


@pytest.mark.parametrize("asked", ["-0", f"{SIZE}-", f"{SIZE}-{SIZE + 5}", f"{SIZE * 7}-"])
def test_nothing_is_there(asked: str) -> None:
    """It tells how large the blob is."""
    with cold() as mirror:
        client = mirror.ask(asked)
        mirror.loopback.until(lambda: client.over)
        assert client.reply.status == 416
        assert client.reply.headers["content-range"] == f"bytes */{SIZE}"
        one_copy(mirror)


@pytest.mark.parametrize("asked", ["9-3", "a-b", "", "-", "1-2-3"])
def test_what_is_no_range_is_the_whole(asked: str) -> None:
    with cold() as mirror:
        client = mirror.ask(asked)
        mirror.finish()
        assert (client.reply.status, client.reply.body) == (200, CONTENT)
        one_copy(mirror)


@both
@pytest.mark.parametrize(
    "asked", ["0-9,19000-19099", "19000-19099,0-9", "0-0,-1", "5000-5999, 7000-7999, 100-"]
)
def test_several_ranges_get_a_clean_whole(connections: int, asked: str) -> None:
    """zstd:chunked takes that: a complete 200 has a length, and no Content-Range."""
    with cold(connections=connections) as mirror:
        client = mirror.ask(asked)
        mirror.finish()
        reply = client.reply
        assert (reply.status, reply.body) == (200, CONTENT)
        assert reply.headers["content-length"] == str(SIZE)
        assert "content-range" not in reply.headers
        one_copy(mirror)


@both
@pytest.mark.parametrize(
    ("validator", "holds"),
    [
        (f'"{DIGEST}"', True),
        (f'W/"{DIGEST}"', False),
        ('"another"', False),
        ("Sun, 06 Nov 1994 08:49:37 GMT", False),
    ],
    ids=["right", "weak", "wrong", "date"],
)
def test_if_range(connections: int, validator: str, holds: bool) -> None:
    with cold(connections=connections) as mirror:
        client = mirror.ask("15000-15999", f"If-Range: {validator}")
        mirror.finish()
        if holds:
            is_part(client, 15_000, 16_000)
        else:
            assert (client.reply.status, client.reply.body) == (200, CONTENT)
        one_copy(mirror)


@both
def test_a_client_that_resumes_its_own_download(connections: int) -> None:
    """As docker and podman do when their connection broke: from where they were, on a fill that went on."""
    with cold(connections=connections) as mirror:
        first = mirror.ask()
        mirror.loopback.until(lambda: len(first.body) >= 4000)
        got = first.body
        first.close()
        mirror.loopback.go_on(0.5)
        second = mirror.ask(f"{len(got)}-", f'If-Range: "{DIGEST}"')
        mirror.finish()
        is_part(second, len(got), SIZE)
        assert got + second.reply.body == CONTENT
        one_copy(mirror)


@both
def test_readers_who_all_hang_up(connections: int) -> None:
    """The blob is there for whoever comes next."""
    with cold(connections=connections) as mirror:
        asked: list[Callable[[], Client]] = [
            mirror.ask,
            lambda: mirror.ask("-100"),
            lambda: mirror.ask("9000-"),
        ]
        for one in asked:
            client = one()
            mirror.loopback.go_on(0.2)
            client.close()
        one_copy(mirror)
        before = mirror.fetched
        late = mirror.ask("18000-18999")
        is_part(late, 18_000, 19_000)
        assert mirror.fetched == before, "a hit"


def test_a_small_blob_comes_over_one_connection() -> None:
    with cold() as mirror, patch.object(Lines, "ranges_above_bytes", SIZE):
        footer, whole = mirror.ask("-51"), mirror.ask()
        mirror.finish()
        is_part(footer, SIZE - 51, SIZE)
        assert whole.reply.body == CONTENT
        assert mirror.gets == 1
        one_copy(mirror, closed=0)
