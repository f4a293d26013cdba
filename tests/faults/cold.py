"""The whole mirror but its sockets: real client towards a scripted registry, real disk, real site; one clock.

Sizes are small and lines are slow, so that a test sees what each byte does.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from regproxy.extents import Extents
from regproxy.oci.digest import Digest
from regproxy.proxy.registry import ProxyRegistry
from regproxy.settings import LOCAL_NETWORKS, FillSettings, UpstreamSettings
from regproxy.storage.opening import open_store
from regproxy.storage.store import DiskStore
from regproxy.testing.checker import check
from regproxy.testing.registry import ScriptableRegistry
from regproxy.upstream.registry import RemoteRegistry
from regproxy.web.api import RegistryApi
from regproxy.web.resource import ApiResource
from regproxy.web.routing import Routes
from regproxy.web.site import RegistrySite
from tests.faults.loopback import STEP_S, Body, Loopback
from tests.fill.ranged import CONTENT, SIZE, SMALL
from tests.web.doubles import Reply, parse
from tests.web.wire import Transport, get

NAME = "registry.test"
PATH = "team/app"
DIGEST = Digest.of(CONTENT)
SPEED = 2000
"""Bytes a second of a line."""
ON_ITS_WAY = 3 * round(SPEED * STEP_S)
"""What may come twice of a connection that is closed at its border: what its line brought meanwhile."""
SIZES = {
    **SMALL,
    "regproxy.upstream.streams.HIGH_BYTES": 2000,
    "regproxy.upstream.streams.LOW_BYTES": 500,
    "regproxy.upstream.client.MAX_DISCARDED_BYTES": 300,
}


@contextlib.contextmanager
def small_sizes() -> Iterator[None]:
    """Sizes that a test can look at, and a disk that does not wait for its platters."""
    with contextlib.ExitStack() as stack:
        for name, value in SIZES.items():
            stack.enter_context(patch(name, value))
        for flush in ("fsync", "fdatasync"):
            stack.enter_context(patch.object(os, flush, lambda descriptor: None))
        stack.enter_context(patch("random.random", random.Random(5).random))
        yield


class Client:
    """One GET over a connection of its own."""

    def __init__(self, cold: Cold, target: str, *lines: str) -> None:
        self.transport = Transport()
        self.channel = cold.site.buildProtocol(None)
        self.transport.protocol = self.channel
        self.channel.makeConnection(self.transport)
        self.gone = False
        self.channel.dataReceived(get(target.encode(), *(line.encode() for line in lines)))

    @property
    def head(self) -> tuple[int, dict[str, str]] | None:
        head, found, _ = self.transport.value().partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}

    @property
    def body(self) -> bytes:
        return self.transport.value().partition(b"\r\n\r\n")[2]

    @property
    def whole(self) -> bool:
        """Whether the answer has come to the end that its head promised."""
        head = self.head
        return head is not None and len(self.body) >= int(head[1].get("content-length", 1 << 60))

    @property
    def cut(self) -> bool:
        return self.transport.aborted or (self.transport.disconnecting and not self.whole)

    @property
    def over(self) -> bool:
        return self.whole or self.cut or self.gone

    @property
    def reply(self) -> Reply:
        return parse(self.transport.value())[0]

    def close(self) -> None:
        """The client hangs up."""
        if not self.gone:
            self.gone = True
            self.channel.connectionLost(Failure(ConnectionDone()))


class Cold:
    """A mirror with nothing on its disk, and upstreams on a slow line."""

    def __init__(
        self,
        connections: int = 4,
        content: bytes = CONTENT,
        speed: int | None = SPEED,
        registries: int = 1,
        ports: tuple[str, ...] = (),
        root: Path | None = None,
    ) -> None:
        """``registries`` are endpoints of one upstream, in this order, behind the URLs in ``ports``."""
        self.loopback = Loopback()
        self.loopback.advance(1_000_000)
        self.content = content
        self.digest = Digest.of(content)
        self.folder = TemporaryDirectory() if root is None else None
        self.root = Path(self.folder.name) if self.folder is not None else root
        self.registries = [ScriptableRegistry(self.loopback) for _ in range(registries)]
        for registry in self.registries:
            registry.start()
            registry.put_blob(PATH, content)
            for server in (registry._registry, registry._cdn):
                self.loopback.speeds[server.port] = speed
        self.registry = self.registries[0]
        self._upstream = UpstreamSettings(
            name=NAME,
            endpoints=(*ports, *(registry.url for registry in self.registries)),
            default=True,
            public=True,
            insecure=True,
        )
        self._fill = FillSettings(connections_per_blob=connections)
        self.clients: list[Client] = []
        self.start()

    def start(self) -> None:
        """The daemon."""
        self.store: DiskStore = open_store(self.root, self.loopback, self.loopback.seconds)
        self.loopback.threads = [self.store._writer, self.store._syncer, self.store._reader]
        self.remote = RemoteRegistry(
            self._upstream, self.loopback, self.loopback.seconds, in_thread=lambda work: succeed(work())
        )
        self.proxy = ProxyRegistry(
            self.store,
            {NAME: self.remote},
            {NAME: ()},
            self.loopback,
            self.loopback.seconds,
            fill=self._fill,
        )
        api = RegistryApi(self.proxy, self.loopback)
        root = ApiResource(api, Routes((self._upstream,)), LOCAL_NETWORKS)
        self.site = RegistrySite(root, self.loopback)

    def _wait(self, deferred: Deferred[Any]) -> None:
        fired: list[Any] = []
        deferred.addBoth(fired.append)
        self.loopback.until(lambda: bool(fired))

    def stop_daemon(self) -> None:
        """As it ends."""
        stopping = self.proxy.stop()
        self.loopback.settle()
        self._wait(stopping)
        for client in self.clients:
            client.close()
        self._wait(self.remote.close())
        self.loopback.threads = []
        fired: list[Any] = []
        self.store.close().addBoth(fired.append)
        while not fired:
            self.loopback._calls.get(timeout=30)()
        self.loopback.settle()

    def put(self, content: bytes) -> None:
        """Another blob is asked for from now on."""
        self.content, self.digest = content, Digest.of(content)
        for registry in self.registries:
            registry.put_blob(PATH, content)

    def ask(self, span: str | None = None, *lines: str, settle: bool = True) -> Client:
        """GET of the blob; ``span`` is what its Range says."""
        ranged = () if span is None else (f"Range: bytes={span}",)
        self.clients.append(Client(self, f"/v2/{PATH}/blobs/{self.digest}", *ranged, *lines))
        if settle:
            self.loopback.settle()
        return self.clients[-1]

    def finish(self, seconds: float = 400.0) -> None:
        """Until every client has its answer, and no fill runs."""
        self.loopback.until(
            lambda: all(client.over for client in self.clients) and not len(self.proxy.fills), seconds
        )

    # what upstream has sent

    @property
    def bodies(self) -> list[Body]:
        """All bodies of blobs that came, in the order of their connections."""
        lines = [line for line in self.loopback.lines if line.port in self.loopback.speeds]
        return [body for line in lines for body in line.bodies if body.status in (200, 206)]

    @property
    def fetched(self) -> int:
        """Bytes of blobs that arrived from upstream."""
        return sum(body.arrived for body in self.bodies)

    @property
    def twice(self) -> int:
        """Of these, what had arrived before."""
        different = Extents((body.start, body.start + body.arrived) for body in self.bodies)
        return self.fetched - different.total

    @property
    def gets(self) -> int:
        return sum(registry.count("GET", "blob") for registry in self.registries)

    # the end

    def kept(self) -> bool:
        return self.store.holds(self.digest) is not None

    def close(self) -> None:
        """Nothing is wrong on disk, nothing is left open."""
        try:
            self.stop_daemon()
            wrong = check(self.root, surveyed=False)
            assert wrong == [], wrong
            assert not [line for line in self.loopback.lines if line.open], "connections are left"
            assert list((self.root / "fills").glob("*")) == [], "spools are left"
            calls = self.loopback.getDelayedCalls()
            assert calls == [], calls
        finally:
            for registry in self.registries:
                registry.stop()
            if self.folder is not None:
                self.folder.cleanup()


@contextlib.contextmanager
def cold(**how: Any) -> Iterator[Cold]:
    """A mirror with nothing on its disk; at the end it is looked over."""
    with small_sizes():
        made = Cold(**how)
        try:
            yield made
        except BaseException:
            with contextlib.suppress(BaseException):
                made.close()
            raise
        made.close()


__all__ = ["CONTENT", "DIGEST", "ON_ITS_WAY", "SIZE", "SPEED", "Client", "Cold", "cold"]
