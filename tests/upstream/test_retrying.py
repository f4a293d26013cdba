"""A hiccup before an answer reaches nobody; an upstream that is down is not asked more because of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from regproxy.errors import UpstreamError, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from regproxy.oci.digest import Digest
from regproxy.oci.tag import Tag
from regproxy.testing.contracts import read_to_end
from regproxy.testing.images import make_image
from regproxy.upstream.client import Answer
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.retrying import RETRIES, SHARE, SPARE, Retrying, Spare, again_in_s
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Asked, Server

BLOB = os.urandom(5000)
DIGEST = Digest.of(BLOB)
BLOB_PATH = f"/v2/library/nginx/blobs/{DIGEST}"
MANIFEST = make_image().manifest
BY_TAG = "/v2/library/nginx/manifests/latest"
BY_DIGEST = f"/v2/library/nginx/manifests/{MANIFEST.descriptor.digest}"
TAG = Tag("latest")
Act = Callable[[Asked], object]


def lost(passing: bool = True) -> UpstreamUnreachable:
    error = UpstreamUnreachable("upstream.test", "lost")
    error.passing = passing
    return error


@attrs.frozen
class Saying:
    """An answer, as far as this looks at it."""

    status: int


class Asking:
    """One question, whose tries have the given outcomes, and the same one for ever after."""

    def __init__(self, *outcomes: Saying | Exception, spare: Spare | None = None, takes_s: float = 0) -> None:
        self.clock = Clock()
        self.outcomes = list(outcomes)
        self.tries: list[float] = []
        self.takes_s = takes_s
        retrying = Retrying(self.clock, 12.0, spare or Spare(), lambda: 0.5)
        self.result: list[Any] = []
        self.running = retrying.run(self.ask, RETRIES)
        self.running.addBoth(self.result.append)

    async def ask(self) -> Answer:
        self.tries.append(self.clock.seconds())
        if self.takes_s:
            waiting: Deferred[None] = Deferred()
            self.clock.callLater(self.takes_s, waiting.callback, None)
            await waiting
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return cast(Answer, outcome)

    def over(self) -> Any:
        self.clock.pump([0.05] * 600)
        (result,) = self.result
        assert self.clock.getDelayedCalls() == []
        return getattr(result, "value", result)


@given(st.integers(0, 10), st.integers(0, 5), st.floats(-1, 12), st.floats(0, 1, exclude_max=True))
def test_the_plan(retries: int, most: int, left_s: float, chance: float) -> None:
    wait_s = again_in_s(retries, most, left_s, chance)
    if wait_s is None:
        assert retries >= most or left_s <= again_in_s(retries, retries + 1, 1e9, chance)
        return
    assert retries < most
    assert 0 < wait_s < left_s
    assert wait_s < again_in_s(retries + 2, retries + 3, 1e9, 0.0), "later each time"


@given(st.lists(st.booleans(), max_size=400))
def test_a_tenth_more_and_a_handful(wanted: list[bool]) -> None:
    """Whatever the order: ``wanted`` says whether each question is asked, or one asked again."""
    spare, asked, again = Spare(), 0, 0
    for retried in wanted:
        if retried:
            again += spare.take()
        else:
            spare.asked()
            asked += 1
        assert again <= asked * SHARE + SPARE + 1e-6


def test_nobody_is_told_of_a_hiccup() -> None:
    fine = Saying(200)
    asking = Asking(lost(), lost(), lost(), fine)
    assert asking.over() is fine
    assert len(asking.tries) == 4


@pytest.mark.parametrize(
    "outcome",
    [
        Saying(200),
        Saying(404),
        Saying(401),
        Saying(429),
        Saying(500),
        Saying(503),
        lost(passing=False),
        UpstreamTimeout("x", "late"),
        UpstreamFailed("x", "not HTTP"),
        KeyError("bug"),
    ],
)
def test_what_is_no_hiccup_is_told_at_once(outcome: Saying | Exception) -> None:
    asking = Asking(outcome)
    assert asking.over() is outcome
    assert asking.tries == [0.0]


def test_the_last_error_is_told() -> None:
    errors = [lost() for _ in range(1 + RETRIES)]
    asking = Asking(*errors)
    assert asking.over() is errors[-1]
    assert len(asking.tries) == 1 + RETRIES


def test_nothing_begins_when_the_time_is_over() -> None:
    asking = Asking(lost(), takes_s=11.95)
    assert asking.over() is asking.outcomes[0]
    assert asking.tries == [0.0]


def test_an_upstream_that_is_down_is_not_asked_more_for_long() -> None:
    spare, tries = Spare(), 0
    for _ in range(200):
        asking = Asking(lost(), spare=spare)
        asking.over()
        tries += len(asking.tries)
    assert 200 < tries <= 200 * (1 + SHARE) + SPARE


def test_who_leaves_while_it_is_asked_is_not_asked_for_again() -> None:
    """A name that is being looked up cannot be resolved once that is cancelled: no reason to ask again."""
    clock, tries = Clock(), []

    async def ask() -> Answer:
        tries.append(clock.seconds())
        try:
            await Deferred()
        except CancelledError:
            raise lost() from None
        raise AssertionError("it ends by being cancelled")

    running = Retrying(clock, 12.0, Spare()).run(ask, RETRIES)
    result: list[Any] = []
    running.addBoth(result.append)
    running.cancel()
    clock.advance(12)
    assert isinstance(result[0].value, CancelledError)
    assert tries == [0.0]
    assert clock.getDelayedCalls() == []


def test_who_leaves_while_it_waits_leaves_nothing() -> None:
    asking = Asking(lost())
    asking.running.cancel()
    (result,) = asking.result
    assert isinstance(result.value, CancelledError)
    assert asking.clock.getDelayedCalls() == []
    assert asking.tries == [0.0]


# Over real sockets


def first_time(what: Act, then: Act) -> Act:
    """The first request gets ``what``."""
    acts = [what]
    return lambda asked: (acts.pop() if acts else then)(asked)


def manifest_answer(asked: Asked) -> None:
    described = MANIFEST.descriptor
    headers = {"Content-Type": described.media_type, "Docker-Content-Digest": str(described.digest)}
    content = b"" if asked.method == "HEAD" else MANIFEST.content
    asked.head(200, {**headers, "Content-Length": str(described.size_bytes)})
    asked.write(content)


def cut_manifest(asked: Asked) -> None:
    asked.head(200, {"Content-Type": MANIFEST.media_type, "Content-Length": str(len(MANIFEST.content))})
    asked.write(MANIFEST.content[:20])
    asked.close()


HICCUPS: dict[str, Act] = {
    "reset": lambda asked: asked.abort(),
    "closed": lambda asked: asked.close(),
    "half a head": lambda asked: (asked.write(b"HTTP/1.1 200 OK\r\nContent-"), asked.close()),
}
hiccups = pytest.mark.parametrize("how", HICCUPS)


@hiccups
async def test_the_first_get_of_a_blob(server: Server, registry: RemoteRegistry, how: str) -> None:
    server.on(BLOB_PATH, first_time(HICCUPS[how], lambda asked: asked.reply(200, BLOB)))
    blob = await registry.blobs.open(REPOSITORY, DIGEST)
    assert await read_to_end(blob.body()) == BLOB
    assert len(server.asked) == 2


@hiccups
async def test_a_manifest_by_tag_and_by_digest_and_a_head(
    server: Server, registry: RemoteRegistry, how: str
) -> None:
    for path in (BY_TAG, BY_DIGEST):
        server.on(path, first_time(HICCUPS[how], manifest_answer))
    assert (await registry.tags.get(REPOSITORY, TAG)).manifest.content == MANIFEST.content
    assert (await registry.manifests.get(REPOSITORY, MANIFEST.descriptor.digest)) == MANIFEST
    server.on(BY_TAG, first_time(HICCUPS[how], manifest_answer))
    assert (await registry.tags.stat(REPOSITORY, TAG, None)).descriptor == MANIFEST.descriptor
    assert len(server.asked) == 6


async def test_a_manifest_that_is_cut_in_its_body(server: Server, registry: RemoteRegistry) -> None:
    server.on(BY_TAG, first_time(cut_manifest, manifest_answer))
    assert (await registry.tags.get(REPOSITORY, TAG)).manifest.content == MANIFEST.content
    server.on(BY_TAG, cut_manifest)
    with pytest.raises(UpstreamUnreachable, match="in the middle"):
        await registry.tags.get(REPOSITORY, TAG)
    assert len(server.asked) == 2 + 2


async def test_a_piece_and_the_rest_are_asked_for_again_by_their_transfer(
    server: Server, registry: RemoteRegistry
) -> None:
    server.on(BLOB_PATH, lambda asked: asked.abort())
    with pytest.raises(UpstreamError):
        await registry.blobs.resume(REPOSITORY, DIGEST, 100, len(BLOB))
    assert len(server.asked) == 1
