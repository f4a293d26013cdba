"""The two upstreams: one in memory, one on a real socket with the real client in front of it."""

from __future__ import annotations

from twisted.internet import reactor

from regproxy.errors import UpstreamRefused
from regproxy.interfaces import IRemoteRegistry
from regproxy.oci.digest import Digest
from regproxy.settings import Credentials, UpstreamSettings
from regproxy.testing.actions import hold, status
from regproxy.testing.bodies import Feed
from regproxy.testing.contents import Holding
from regproxy.testing.registry import ScriptableRegistry
from regproxy.testing.remotes import MemoryRemote
from regproxy.testing.reply import Gate
from regproxy.testing.rules import Match
from regproxy.testing.store_contract import REPOSITORY
from regproxy.testing.tokens import BasicGuard
from regproxy.upstream.registry import RemoteRegistry

OPERATIONS = (
    "blobs.stat",
    "blobs.open",
    "blobs.open_from",
    "manifests.stat",
    "manifests.get",
    "tags.get",
    "tags.stat",
    "tags.list",
)


class MemoryUpstream:
    """The double."""

    def __init__(self) -> None:
        self.repository = REPOSITORY
        self.remote = MemoryRemote(REPOSITORY.upstream)

    @property
    def holding(self) -> Holding:
        return self.remote.holding(REPOSITORY)

    def answer(self, code: int | None, retry_after_s: int | None = None) -> None:
        self.remote.answer(code, retry_after_s)

    def hold(self) -> Gate:
        return self.remote.script.hold(*OPERATIONS)

    def stall(self, content: bytes, here_bytes: int) -> Digest:
        feed = Feed(len(content))
        feed.give(content[:here_bytes])
        self.remote.feed(REPOSITORY, digest := Digest.of(content), feed)
        return digest

    def with_password(self, right: bool) -> IRemoteRegistry:
        other = MemoryRemote(REPOSITORY.upstream)
        if not right:
            other.script.fail("check_credentials", UpstreamRefused(other.name, "a wrong password"))
        return other

    async def close(self) -> None:
        """It has no sockets."""


class SocketUpstream:
    """A scripted registry, and the real client."""

    def __init__(self) -> None:
        self.repository = REPOSITORY
        self._registry = ScriptableRegistry(reactor)
        self._remotes: list[RemoteRegistry] = []

    async def start(self) -> None:
        await self._registry.start()
        self.remote = self._client(None)

    def _client(self, credentials: Credentials | None) -> RemoteRegistry:
        settings = UpstreamSettings(
            REPOSITORY.upstream, (self._registry.url,), insecure=True, credentials=credentials
        )
        self._remotes.append(RemoteRegistry(settings, reactor))
        return self._remotes[-1]

    @property
    def holding(self) -> Holding:
        return self._registry.holding(REPOSITORY.path)

    def answer(self, code: int | None, retry_after_s: int | None = None) -> None:
        """Of a client that has heard nothing yet: what one answer says it remembers for a while."""
        self.remote = self._client(None)
        self._registry.unscript()
        self.remote = self._client(None)  # one who remembers no 429
        if code is not None:
            wish = None if retry_after_s is None else str(retry_after_s)
            self._registry.script(Match(), status(code, retry_after=wish))

    def hold(self) -> Gate:
        gate = Gate()
        self._registry.script(Match(), hold(gate))
        return gate

    def stall(self, content: bytes, here_bytes: int) -> Digest:
        digest = Digest.of(content)
        self.holding.blobs[digest] = content
        self._registry.script(Match(method="GET", reference=str(digest)), hold(Gate(), here_bytes))
        return digest

    def with_password(self, right: bool) -> IRemoteRegistry:
        self._registry.guard = BasicGuard("mirror", "hunter2")
        return self._client(Credentials("mirror", "hunter2" if right else "not-hunter2"))

    async def close(self) -> None:
        for remote in self._remotes:
            await remote.close()
        await self._registry.stop()
