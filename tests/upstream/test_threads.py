"""What is long for the reactor is done elsewhere (invariant 8)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed

from regproxy.errors import ManifestRefused, RegproxyError
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.upstream import manifests, pages
from regproxy.upstream.registry import RemoteRegistry
from regproxy.upstream.threads import LARGE_BYTES, by_size, threads_of
from tests.upstream.conftest import REPOSITORY
from tests.upstream.servers import Server
from tests.upstream.test_registry import BY_TAG, TAG

LIST = "/v2/library/nginx/tags/list"
NewRegistry = Callable[..., RemoteRegistry]


def image_of(size_bytes: int) -> bytes:
    content = json.dumps({"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "layers": []}).encode()
    return content.ljust(size_bytes)


class Desk:
    """Runs at once, and counts."""

    def __init__(self) -> None:
        self.works = 0

    def __call__(self, work: Callable[[], Any]) -> Deferred[Any]:
        self.works += 1
        try:
            return succeed(work())
        except RegproxyError:
            return fail()


@pytest.mark.parametrize(("size", "works"), [(LARGE_BYTES, 0), (LARGE_BYTES + 1, 1)])
async def test_large_manifests_go_elsewhere(
    server: Server, new_registry: NewRegistry, size: int, works: int
) -> None:
    desk = Desk()
    registry = new_registry(server.url, {"in_thread": desk})
    content = image_of(size)
    server.on(BY_TAG, lambda asked: asked.reply(200, content, {"Content-Type": types.OCI_MANIFEST}))
    assert (await registry.tags.get(REPOSITORY, TAG)).descriptor.digest == Digest.of(content)
    assert desk.works == works


async def test_large_lists_go_elsewhere(server: Server, new_registry: NewRegistry) -> None:
    """Each page, and the order of all."""
    desk = Desk()
    registry = new_registry(server.url, {"in_thread": desk})
    names = [f"v{number}" for number in range(20_000)]
    server.on(LIST, lambda asked: asked.json({"tags": names}))
    assert await registry.tags.list(REPOSITORY) == tuple(sorted(names))
    assert desk.works == 2
    server.on(LIST, lambda asked: asked.json({"tags": ["b", "a"]}))
    assert await registry.tags.list(REPOSITORY) == ("a", "b")
    assert desk.works == 2


async def test_it_is_a_thread_of_the_reactor(
    server: Server, registry: RemoteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a test says otherwise; an error in it is the error of the call."""
    seen = []

    def spy(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            seen.append(threading.current_thread())
            return function(*args)

        return noted

    monkeypatch.setattr(pages, "read_page", spy(pages.read_page))
    monkeypatch.setattr(manifests.Manifest, "receive", spy(manifests.Manifest.receive))
    server.on(LIST, lambda asked: asked.json({"tags": ["x" * 100] * 3000}))
    await registry.tags.list(REPOSITORY)
    server.on(BY_TAG, lambda asked: asked.reply(200, b"[" * (LARGE_BYTES + 1)))
    with pytest.raises(ManifestRefused):
        await registry.tags.get(REPOSITORY, TAG)
    assert len(seen) == 2
    assert threading.main_thread() not in seen


async def test_whoever_waits_may_leave() -> None:
    """The work ends by itself, and nobody hears of it."""
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(10)
        raise ValueError

    waiting = ensureDeferred(by_size(threads_of(reactor), LARGE_BYTES + 1, work))
    assert begun.wait(10)
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    go.set()
    await threads_of(reactor)(lambda: None)
