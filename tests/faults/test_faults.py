"""Every fault that a line, an upstream or a disk can have, each with one connection and with several.

A client gets the right bytes or an answer that is cut; of upstream's bytes only so many come twice as the
fault makes necessary; nothing wrong is on the disk afterwards, nothing is left open, and the next pull is
right. ``SHOWN_BY`` names the tests of each fault, here and elsewhere.
"""

from __future__ import annotations

import ast
import errno
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from regproxy.storage import durable
from regproxy.testing import actions
from regproxy.testing.actions import Action
from regproxy.testing.contents import Quirks
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from regproxy.testing.tokens import TokenGuard, TokenServer
from regproxy.upstream.limits import LIMITS
from tests.faults.cold import CONTENT, ON_ITS_WAY, SIZE, SPEED, Client, Cold, cold
from tests.faults.loopback import Line

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests/faults/test_faults.py"
SHOWN_BY = {
    "connection reset at any byte": [
        f"{HERE}::test_a_reset_at_any_byte",
        "tests/fill/test_ranges_in_any_order.py::test_right_bytes_reach_everyone_who_stays",
    ],
    "truncated body with the right Content-Length": [f"{HERE}::test_a_fault_costs_no_pull"],
    "truncated body with a wrong Content-Length": [
        f"{HERE}::test_a_wrong_length",
        "tests/system/test_bad_upstream.py::test_a_body_shorter_than_announced",
    ],
    "stall": [
        f"{HERE}::test_a_stall_is_a_failure_of_the_connection",
        "tests/upstream/test_streams.py::test_a_stall_is_a_timeout",
    ],
    "wrong bytes at the front": [f"{HERE}::test_wrong_bytes"],
    "wrong bytes in the middle": [f"{HERE}::test_wrong_bytes"],
    "wrong bytes at the end": [f"{HERE}::test_wrong_bytes"],
    "206 with a wrong offset": [
        f"{HERE}::test_a_fault_costs_no_pull",
        "tests/upstream/test_blob_pieces.py::test_anything_else_is_no_piece",
        "tests/upstream/test_resume.py::test_a_206_of_anything_else_is_refused",
    ],
    "206 with a wrong total": [
        f"{HERE}::test_a_fault_costs_no_pull",
        "tests/upstream/test_resume.py::test_another_size_is_another_blob",
    ],
    "206 with a wrong validator": [
        f"{HERE}::test_a_fault_costs_no_pull",
        "tests/upstream/test_blob_pieces.py::test_a_piece_of_another_blob",
    ],
    "200 to a Range": [
        f"{HERE}::test_a_fault_costs_no_pull",
        "tests/upstream/test_resume.py::test_an_upstream_that_ignores_range",
    ],
    "416": [
        f"{HERE}::test_a_fault_costs_no_pull",
        "tests/upstream/test_resume.py::test_one_that_refuses_each_range_is_asked_for_all_of_it",
    ],
    "403 on a signed URL": [f"{HERE}::test_a_signed_url_that_expires"],
    "401 in mid-blob": [f"{HERE}::test_a_token_that_ends_in_mid_blob"],
    "endpoint down": [
        f"{HERE}::test_an_endpoint_that_is_away",
        f"{HERE}::test_an_endpoint_that_goes_away_in_mid_blob",
        "tests/upstream/test_failover.py::test_trouble_of_the_first_costs_nobody_a_pull",
    ],
    "endpoint slow": [f"{HERE}::test_an_endpoint_that_is_slow_to_answer"],
    "DNS failure": [f"{HERE}::test_an_endpoint_that_is_away"],
    "disk full at any write": [
        f"{HERE}::test_a_disk_that_is_full_at_any_write",
        "tests/fill/test_any_order.py::test_right_bytes_reach_everyone_who_stays",
    ],
    "killed at a random moment": ["tests/system/test_killed.py"],
}
both = pytest.mark.parametrize("connections", [1, 4])


@pytest.mark.parametrize("fault", SHOWN_BY)
def test_the_table_names_tests_that_there_are(fault: str) -> None:
    for test in SHOWN_BY[fault]:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        there = {
            each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert not name or name in there, test


@attrs.define
class Pull:
    """Two clients, of the whole and of a part far ahead, and what became of them."""

    mirror: Cold
    whole: Client
    part: Client
    start: int
    stop: int

    @classmethod
    def of(cls, mirror: Cold, start: int = 15_000, stop: int = 16_000) -> Pull:
        return cls(mirror, mirror.ask(), mirror.ask(f"{start}-{stop - 1}"), start, stop)

    def right(self, twice: int = ON_ITS_WAY) -> None:
        """Both have all of it, and no more than ``twice`` came a second time."""
        self.mirror.finish()
        assert self.whole.head is not None
        assert self.part.head is not None
        assert (self.whole.head[0], self.whole.body) == (200, CONTENT)
        assert (self.part.head[0], self.part.body) == (206, CONTENT[self.start : self.stop])
        assert self.mirror.kept()
        assert self.mirror.twice <= twice, self.mirror.bodies

    def right_or_cut(self, wrong: bool = False) -> None:
        """Nobody has the whole, and it is wrong. Of ``wrong`` bytes a part is for its client to judge."""
        self.mirror.finish()
        for client, content in ((self.whole, CONTENT), (self.part, CONTENT[self.start : self.stop])):
            head = client.head
            fine = head is None or head[0] >= 400 or not client.whole or client.body == content
            assert fine or (wrong and client is self.part)

    def and_the_next_is_right(self) -> None:
        """Once the fault is over; whatever was kept is right, so a hit is as well."""
        self.mirror.registry.unscript()
        self.mirror.loopback.on_line = lambda line: None
        if not self.mirror.kept():
            self.mirror.loopback.go_on(40)  # endpoints and retries that were put off
        before, kept = self.mirror.fetched, self.mirror.kept()
        late = self.mirror.ask()
        self.mirror.finish()
        assert (late.reply.status, late.reply.body) == (200, CONTENT)
        assert not kept or self.mirror.fetched == before
        assert self.mirror.kept()


def on_line(mirror: Cold, number: int, **what: int) -> None:
    """What befalls the connection of that number."""

    def act(line: Line) -> None:
        if line.number == number:
            for name, value in what.items():
                setattr(line, name, value)

    mirror.loopback.on_line = act


few = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@given(st.sampled_from([1, 4]), st.integers(0, 6), st.integers(0, SIZE + 400))
@example(1, 0, SIZE + 300)
@example(4, 0, 0)
@example(4, 1, 1)
@few
def test_a_reset_at_any_byte(connections: int, line: int, at: int) -> None:
    """Of whichever connection, in its head or its body."""
    with cold(connections=connections) as mirror:
        on_line(mirror, line, reset_at=at)
        pull = Pull.of(mirror)
        pull.right()
        pull.and_the_next_is_right()


@given(st.sampled_from([1, 4]), st.lists(st.integers(400, 6000), min_size=1, max_size=8))
@few
def test_resets_one_after_the_other(connections: int, places: list[int]) -> None:
    """Each connection brings some bytes before it breaks: so none is the last."""
    with cold(connections=connections) as mirror:

        def act(line: Line) -> None:
            if line.number < len(places):
                line.reset_at = places[line.number]

        mirror.loopback.on_line = act
        pull = Pull.of(mirror)
        pull.right()
        pull.and_the_next_is_right()


def test_a_line_that_brings_a_little_each_time() -> None:
    """As some middleboxes do (P42): whatever comes before a break counts, to the byte."""
    with cold(connections=1) as mirror:

        def act(line: Line) -> None:
            line.reset_at = 410 if line.number < 20 else None

        mirror.loopback.on_line = act
        client = mirror.ask()
        mirror.finish()
        assert (client.reply.status, client.reply.body) == (200, CONTENT)
        assert mirror.gets == 21
        assert mirror.fetched == SIZE


@both
@pytest.mark.parametrize("line", [0, 1, 2])
@pytest.mark.parametrize("at", [420, 2000])
def test_a_stall_is_a_failure_of_the_connection(connections: int, line: int, at: int) -> None:
    """Not of the pull: after 30 s of silence the others, or a new one, do what it left."""
    with cold(connections=connections) as mirror:
        on_line(mirror, line, stall_at=at)
        began = mirror.loopback.seconds()
        pull = Pull.of(mirror)
        pull.right()
        assert mirror.loopback.seconds() - began < LIMITS.idle_s + 15
        pull.and_the_next_is_right()


def test_a_stall_is_waited_for_thirty_seconds() -> None:
    with cold(connections=1) as mirror:
        on_line(mirror, 0, stall_at=2000)
        mirror.ask()
        mirror.loopback.go_on(LIMITS.idle_s)
        assert mirror.gets == 1
        mirror.loopback.go_on(4)
        assert mirror.gets == 2


def broken_first() -> Match:
    """The first GET."""
    return Match(kind="blob", method="GET", ranged=False, times=1)


def span_moved(reply: Any, scene: Any) -> Any:
    """One byte further than was asked for."""
    start, stop = (
        int(each) for each in (reply.header("Content-Range") or "").split()[1].split("/")[0].split("-")
    )
    moved = reply.with_header("Content-Range", f"bytes {start - 1}-{stop - 1}/{SIZE}")
    return attrs.evolve(moved, body=CONTENT[start - 1 : stop])


def other_total(reply: Any, scene: Any) -> Any:
    span = (reply.header("Content-Range") or "").partition("/")[0]
    return reply.with_header("Content-Range", f"{span}/{SIZE + 1}")


RANGE_FAULTS: dict[str, tuple[tuple[Action, ...], int]] = {
    "a cut": ((actions.cut(700),), 0),
    "206 of other bytes": ((span_moved,), 0),
    "206 of another size": ((other_total,), 0),
    "206 of another validator": (
        (
            actions.header("ETag", '"another"'),
            lambda reply, scene: attrs.evolve(reply, body=bytes(len(reply.body))),
        ),
        SIZE,
    ),
    "200": ((actions.ignore_range(),), SIZE),
    "416": ((actions.status(416),), SIZE),
    "204": ((actions.status(204, b""),), 0),
    "503": ((actions.status(503),), 0),
    "429": ((actions.status(429, retry_after="2"),), 0),
    "reset": ((actions.reset(),), 0),
    "encoded": ((actions.encoded(),), 0),
    "a web page": ((actions.html(),), 0),
}
"""What an answer to a Range may be, and how many bytes of the blob come again for that."""


@both
@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("fault", RANGE_FAULTS)
def test_a_fault_costs_no_pull(connections: int, times: int, fault: str) -> None:
    """Of answers to Range, ``times`` in a row, while the first connection breaks in the middle."""
    with cold(connections=connections) as mirror:
        acts, again = RANGE_FAULTS[fault]
        on_line(mirror, 0, reset_at=8000)
        mirror.registry.script(Match(kind="blob", ranged=True, times=times), *acts)
        pull = Pull.of(mirror)
        pull.right(twice=again + 2 * ON_ITS_WAY)
        pull.and_the_next_is_right()


@both
@pytest.mark.parametrize("fault", [each for each in RANGE_FAULTS if each[:3] in ("200", "206", "416")])
def test_an_upstream_that_serves_no_range_as_it_should(connections: int, fault: str) -> None:
    """All the time, though it says that it does: one connection brings all of it, and is asked once."""
    with cold(connections=connections) as mirror:
        mirror.registry.script(Match(kind="blob", ranged=True), *RANGE_FAULTS[fault][0])
        pull = Pull.of(mirror)
        pull.right(twice=ON_ITS_WAY + SIZE if fault == "200" else ON_ITS_WAY)
        assert mirror.gets == 2


@both
@pytest.mark.parametrize("fault", ["200", "416"])
def test_one_that_serves_none_and_breaks_too(connections: int, fault: str) -> None:
    """What is there is read over, and the rest is had."""
    with cold(connections=connections) as mirror:
        mirror.registry.script(Match(kind="blob", ranged=True), *RANGE_FAULTS[fault][0])
        on_line(mirror, 0, reset_at=8000)
        Pull.of(mirror).right(twice=2 * SIZE)


@both
@pytest.mark.parametrize("by", [-1, -500, 1, 500])
def test_a_wrong_length(connections: int, by: int) -> None:
    """Nobody can tell what is right: nothing is kept, nobody has a whole answer."""
    with cold(connections=connections) as mirror:
        mirror.registry.script(Match(kind="blob"), actions.wrong_length(by))
        pull = Pull.of(mirror)
        pull.right_or_cut()
        assert not mirror.kept()
        assert mirror.fetched <= 3 * SIZE
        pull.and_the_next_is_right()


@both
@pytest.mark.parametrize("at", [0, 1, SIZE // 2, SIZE - 101, SIZE - 1])
def test_wrong_bytes(connections: int, at: int) -> None:
    """At the front, in the middle, at the end: all the time."""
    with cold(connections=connections) as mirror:
        wrong = CONTENT[:at] + bytes([CONTENT[at] ^ 1]) + CONTENT[at + 1 :]
        mirror.registry.holding("team/app").blobs[mirror.digest] = wrong
        pull = Pull.of(mirror)
        pull.right_or_cut(wrong=True)
        assert not pull.whole.whole
        assert not mirror.kept()
        assert mirror.twice <= SIZE + 2 * ON_ITS_WAY, "once more over one connection, then it is blamed"
        mirror.registry.put_blob("team/app", CONTENT)
        pull.and_the_next_is_right()


@both
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_wrong_bytes_of_one_answer(connections: int, nth: int) -> None:
    with cold(connections=connections) as mirror:
        mirror.registry.script(Match(kind="blob", nth=nth), actions.wrong_bytes(at=10))
        pull = Pull.of(mirror)
        pull.right_or_cut(wrong=True)
        assert mirror.twice <= SIZE + 2 * ON_ITS_WAY
        pull.and_the_next_is_right()


@both
@pytest.mark.parametrize("times", [1, 3])
def test_a_signed_url_that_expires(connections: int, times: int) -> None:
    """In mid-blob: the registry is asked for another, and its own word is not taken for a refusal (R87)."""
    with cold(connections=connections) as mirror:
        mirror.registry.quirks = Quirks(blob_redirect_status=307)
        mirror.registry.script(Match(kind="cdn", ranged=True, times=times), actions.status(403))
        on_line(mirror, 1, reset_at=8000)
        pull = Pull.of(mirror)
        pull.right()
        pull.and_the_next_is_right()


@both
def test_a_registry_that_refuses_the_rest_is_believed(connections: int) -> None:
    """Where it is its own 403: the right is gone."""
    with cold(connections=connections) as mirror:
        mirror.registry.script(Match(kind="blob", ranged=True), actions.status(403))
        on_line(mirror, 0, reset_at=8000)
        pull = Pull.of(mirror)
        pull.right_or_cut()
        assert not pull.whole.whole
        assert not mirror.kept()
        assert mirror.twice <= ON_ITS_WAY


@both
def test_a_token_that_ends_in_mid_blob(connections: int) -> None:
    with cold(connections=connections) as mirror:
        tokens = TokenServer(mirror.loopback, anonymous={"*": ("pull",)})
        tokens.start()
        mirror.registry.guard = TokenGuard(tokens)
        on_line(mirror, 1, reset_at=6000)
        pull = Pull.of(mirror)
        mirror.loopback.until(lambda: mirror.fetched > 3000)
        tokens.time_offset_s += 3600
        pull.right()
        tokens.stop()
        assert mirror.registry.count("GET", "blob", status=401) >= 2, "before the first token, and after it"


@both
@pytest.mark.parametrize("away", ["http://127.0.0.1:9", "http://nowhere.test:5000"], ids=["down", "DNS"])
def test_an_endpoint_that_is_away(connections: int, away: str) -> None:
    with cold(connections=connections, ports=(away,)) as mirror:
        pull = Pull.of(mirror)
        pull.right()
        pull.and_the_next_is_right()


@pytest.mark.parametrize("away", ["http://127.0.0.1:9", "http://nowhere.test:5000"], ids=["down", "DNS"])
def test_no_endpoint_at_all(away: str) -> None:
    """A clear answer, in time, and nothing on disk."""
    with cold(registries=1, ports=(away,)) as mirror:
        mirror.registry.refuse_connections()
        began = mirror.loopback.seconds()
        client = mirror.ask()
        mirror.finish()
        assert client.reply.status in (502, 504)
        assert mirror.loopback.seconds() - began < 15
        mirror.registry.accept_connections()


@both
def test_an_endpoint_that_goes_away_in_mid_blob(connections: int) -> None:
    with cold(connections=connections, registries=2) as mirror:
        pull = Pull.of(mirror)
        mirror.loopback.until(lambda: mirror.fetched > 5000)
        mirror.registry.refuse_connections()
        pull.right()
        assert mirror.registries[1].count("GET", "blob") >= 1
        pull.and_the_next_is_right()


def test_what_one_endpoint_does_not_serve_the_other_may() -> None:
    """It is remembered by endpoint whose ranges are of no use."""
    with cold(registries=2, speed=4 * SPEED) as mirror:
        first, second = mirror.registries
        first.script(Match(kind="blob", ranged=True), actions.ignore_range())
        mirror.ask()
        mirror.finish()
        mirror.put(CONTENT[::-1])
        mirror.ask()
        mirror.finish()
        assert first.count("GET", "blob") == 3, "the second blob came over one connection"
        mirror.put(CONTENT[1:])
        first.refuse_connections()
        last = mirror.ask()
        mirror.finish()
        assert last.reply.body == CONTENT[1:]
        assert second.count("GET", "blob") > 2


@both
def test_an_endpoint_that_is_slow_to_answer(connections: int) -> None:
    with cold(connections=connections, registries=2) as mirror:
        mirror.registry.script(Match(), actions.hold(Gate()))
        began = mirror.loopback.seconds()
        pull = Pull.of(mirror)
        pull.right()
        assert mirror.loopback.seconds() - began < LIMITS.endpoint_s + 15


class Full:
    """A disk that takes ``room`` bytes of spools and then none."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._real = durable.write_all

    def write_all(self, descriptor: int, content: bytes, offset: int) -> None:
        if offset + len(content) > self.room and len(content) > 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._real(descriptor, content, offset)


@given(st.sampled_from([1, 4]), st.integers(0, SIZE), st.integers(0, SIZE - 1000))
@example(4, 0, 15_000)
@example(1, SIZE - 1, 0)
@few
def test_a_disk_that_is_full_at_any_write(connections: int, room: int, start: int) -> None:
    """It costs the copy, not the pull."""
    with cold(connections=connections) as mirror, patch.object(durable, "write_all", Full(room).write_all):
        pull = Pull.of(mirror, start, start + 1000)
        mirror.finish()
        assert (pull.whole.reply.status, pull.whole.reply.body) == (200, CONTENT)
        assert (pull.part.reply.status, pull.part.reply.body) == (206, CONTENT[start : start + 1000])
        assert not mirror.kept() or room == SIZE
        assert mirror.twice <= SIZE + 2 * ON_ITS_WAY
        for client in mirror.clients:
            client.close()
        mirror.loopback.go_on(12)  # relays without readers linger
