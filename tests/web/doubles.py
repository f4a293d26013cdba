"""A registry in memory, a site over it on a free port, and a raw client that sees every byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from regproxy.errors import NotFound, RegproxyError, TransferStopped
from regproxy.interfaces import (
    BlobAnswer,
    How,
    IBlob,
    IBlobService,
    IBody,
    IManifestService,
    ITagService,
    TagAnswer,
    TagList,
)
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.settings import LOCAL_NETWORKS, Credentials, UpstreamSettings
from regproxy.web.access_log import AccessRecord
from regproxy.web.api import RegistryApi
from regproxy.web.channel import RegistryChannel
from regproxy.web.resource import ApiResource
from regproxy.web.routing import Routes
from regproxy.web.site import RegistrySite
from tests.overheard import overhear

UPSTREAMS = (
    UpstreamSettings(
        "docker.io",
        ("https://registry-1.docker.io",),
        default=True,
        library=True,
        aliases=("index.docker.io", "registry-1.docker.io"),
    ),
    UpstreamSettings("ghcr.io", ("https://ghcr.io",)),
    UpstreamSettings(
        "corp.example:5000", ("https://corp.example:5000",), credentials=Credentials("me", "pw")
    ),
    UpstreamSettings("plain.example", ("http://plain.example",), insecure=True, prefix=False),
)


@implementer(IBody)
class ScriptedBody:
    """Gives what it is fed; ``feed`` takes bytes, ``b""`` for the end, or an error."""

    def __init__(self, *items: bytes | Exception) -> None:
        self.items: list[bytes | Exception] = list(items)
        self.closed = 0
        self.read_bytes = 0
        self._offset = 0
        self._waiting: Deferred[None] | None = None

    def feed(self, item: bytes | Exception) -> None:
        self.items.append(item)
        self._wake()

    def _wake(self, error: Exception | None = None) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.errback(error) if error else waiting.callback(None)

    def read(self, max_bytes: int) -> bytes | None:
        assert not self.closed, "read after close"
        if not self.items:
            return None
        item = self.items[0]
        if isinstance(item, Exception):
            raise item
        if item == b"":
            return b""
        chunk = item[self._offset : self._offset + max_bytes]
        self._offset += len(chunk)
        if self._offset == len(item):
            del self.items[0]
            self._offset = 0
        self.read_bytes += len(chunk)
        return chunk

    def ready(self) -> Deferred[None]:
        if self.items:
            return succeed(None)
        assert self._waiting is None or self._waiting.called
        self._waiting = Deferred()
        return self._waiting

    def close(self) -> None:
        self.closed += 1
        self._wake(TransferStopped("closed"))


@implementer(IBlob)
class ScriptedBlob:
    """A blob whose body is made by ``make(start, stop)``."""

    def __init__(self, size: int | None, make: Callable[[int, int | None], ScriptedBody]) -> None:
        self.size = size
        self.how = How.HIT
        self.make = make
        self.closed = 0

    def body(self, start: int = 0, stop: int | None = None) -> IBody:
        return self.make(start, stop)

    def close(self) -> None:
        self.closed += 1


def blob_of(content: bytes) -> ScriptedBlob:
    return ScriptedBlob(len(content), lambda start, stop: ScriptedBody(content[start:stop], b""))


@attrs.define
class MemoryRegistry:
    """All three seams in one; every call is kept in ``calls``."""

    blob_map: dict[tuple[Repository, Digest], Any] = attrs.field(factory=dict)
    manifest_map: dict[tuple[Repository, Digest], Manifest] = attrs.field(factory=dict)
    tag_map: dict[tuple[Repository, Tag], TagAnswer] = attrs.field(factory=dict)
    lists: dict[Repository, TagList] = attrs.field(factory=dict)
    hits: dict[tuple[Repository, Reference], TagAnswer] = attrs.field(factory=dict)
    """What is answered at once."""
    warns: dict[tuple[Repository, Reference | None], tuple[str, ...]] = attrs.field(factory=dict)
    error: Exception | None = None
    pending: Deferred[Any] | None = None
    calls: list[str] = attrs.field(factory=list)
    forced: list[bool] = attrs.field(factory=list)
    """Whether each tag that was asked for was to be confirmed."""

    @property
    def blobs(self) -> IBlobService:
        return _Blobs(self)

    @property
    def manifests(self) -> IManifestService:
        return _Manifests(self)

    @property
    def tags(self) -> ITagService:
        return _Tags(self)

    def warnings(self, repository: Repository, reference: Reference | None) -> tuple[str, ...]:
        return self.warns.get((repository, reference), ())

    def manifest_at_hand(self, repository: Repository, reference: Reference) -> TagAnswer | None:
        return self.hits.get((repository, reference))

    def repositories(
        self, upstream: str, visible: Callable[[Repository], bool], after: str | None, count: int
    ) -> Deferred[tuple[str, ...]]:
        names = (each for each, _ in self.blob_map if each.upstream == upstream and visible(each))
        held = sorted({each.path for each in names if each.path > (after or "")})
        return self.answer("repositories", tuple(held[:count]))

    def answer(self, call: str, found: Any) -> Deferred[Any]:
        self.calls.append(call)
        if self.pending is not None:
            return self.pending
        if self.error is not None:
            return fail(self.error)
        if found is None:
            return fail(NotFound("docker.io", "it answered 404"))
        return succeed(found)


@implementer(IBlobService)
class _Blobs:
    def __init__(self, memory: MemoryRegistry) -> None:
        self._memory = memory

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int]:
        blob = self._memory.blob_map.get((repository, digest))
        size = None if blob is None else blob.size if isinstance(blob, ScriptedBlob) else len(blob)
        return self._memory.answer("blobs.stat", size)

    def look(self, repository: Repository, digest: Digest) -> Deferred[BlobAnswer]:
        return self.stat(repository, digest).addCallback(lambda size: BlobAnswer(size, How.HIT))

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        blob = self._memory.blob_map.get((repository, digest))
        return self._memory.answer("blobs.open", blob_of(blob) if isinstance(blob, bytes) else blob)


@implementer(IManifestService)
class _Manifests:
    def __init__(self, memory: MemoryRegistry) -> None:
        self._memory = memory

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        found = self._memory.manifest_map.get((repository, digest))
        return self._memory.answer("manifests.stat", found and found.descriptor)

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        return self._memory.answer("manifests.get", self._memory.manifest_map.get((repository, digest)))

    def look(self, repository: Repository, digest: Digest) -> Deferred[TagAnswer]:
        return self.stat(repository, digest).addCallback(lambda found: TagAnswer(found, None, How.MISS))

    def fetch(self, repository: Repository, digest: Digest) -> Deferred[TagAnswer]:
        return self.get(repository, digest).addCallback(
            lambda found: TagAnswer(found.descriptor, found, How.MISS)
        )


@implementer(ITagService)
class _Tags:
    def __init__(self, memory: MemoryRegistry) -> None:
        self._memory = memory

    def get(self, repository: Repository, tag: Tag, forced: bool = False) -> Deferred[TagAnswer]:
        self._memory.forced.append(forced)
        return self._memory.answer("tags.get", self._memory.tag_map.get((repository, tag)))

    def stat(self, repository: Repository, tag: Tag, forced: bool = False) -> Deferred[TagAnswer]:
        self._memory.forced.append(forced)
        found = self._memory.tag_map.get((repository, tag))
        return self._memory.answer("tags.stat", found and attrs.evolve(found, manifest=None))

    def list(self, repository: Repository) -> Deferred[TagList]:
        return self._memory.answer("tags.list", self._memory.lists.get(repository))


class RawClient(Protocol):
    """Keeps every byte; ``got`` fires when a predicate holds, ``lost`` when the connection ends."""

    def __init__(self) -> None:
        self.data = b""
        self.closed: Deferred[bytes] = Deferred()
        self.reason: Any = None
        self._wants: tuple[Callable[[bytes], bool], Deferred[bytes]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if self._wants is not None and self._wants[0](self.data):
            wants, self._wants = self._wants, None
            wants[1].callback(self.data)

    def until(self, holds: Callable[[bytes], bool]) -> Deferred[bytes]:
        if holds(self.data):
            return succeed(self.data)
        done: Deferred[bytes] = Deferred()
        self._wants = (holds, done)
        return done.addTimeout(10, reactor)

    def ended(self) -> Deferred[bytes]:
        """All bytes, once the connection has ended; a test that waits in vain fails."""
        return self.closed.addTimeout(10, reactor)

    def connectionLost(self, reason: Any = None) -> None:
        self.reason = reason
        self.closed.callback(self.data)


@attrs.frozen
class Reply:
    """One parsed answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/json"
        document = json.loads(self.body)
        assert list(document) == ["errors"]
        (entry,) = document["errors"]
        assert set(entry) == {"code", "message", "detail"}
        return entry

    @property
    def stable(self) -> dict[str, str]:
        """The headers without the Date."""
        return {name: value for name, value in self.headers.items() if name != "date"}


def parse_head(data: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        known = headers.get(name.lower())
        assert known is None or name in ("WWW-Authenticate", "Warning"), f"{name} twice"
        headers[name.lower()] = value if known is None else f"{known}, {value}"
    return int(first.split(" ")[1]), headers, rest


def parse(data: bytes, head: bool = False) -> tuple[Reply, bytes]:
    """The first answer in ``data`` (which holds all of it), and what follows."""
    status, headers, rest = parse_head(data)
    if head or status == 304:
        return Reply(status, headers, b""), rest
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size, _, rest = rest.partition(b"\r\n")
            count = int(size, 16)
            body, rest = body + rest[:count], rest[count + 2 :]
            if count == 0:
                return Reply(status, headers, body), rest
    length = int(headers["content-length"])
    assert len(rest) >= length, (len(rest), length)
    if status >= 400:
        overhear(f"an answer {status}", rest[:length])
    return Reply(status, headers, rest[:length]), rest[length:]


class CountedChannel(RegistryChannel):
    """Tells its site when it comes and goes, so that a test can wait for the server's side too."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.live.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        self.site.live.discard(self)
        if not self.site.live and self.site.quiet is not None:
            self.site.quiet.callback(None)


class Front:
    """A listening site over a MemoryRegistry."""

    def __init__(self, registry: MemoryRegistry | None = None, **options: Any) -> None:
        self.registry = registry or MemoryRegistry()
        self.records: list[AccessRecord] = []
        networks = options.pop("networks", LOCAL_NETWORKS)
        self.tls = options.pop("tls", None)
        upstreams = options.pop("upstreams", UPSTREAMS)
        self.entrance = options.pop("entrance", None)
        catalog = self.entrance if options.pop("catalog", False) else None
        self.api = RegistryApi(self.registry, reactor, catalog)
        resource = ApiResource(
            self.api,
            Routes(upstreams),
            networks,
            options.pop("gate", None),
            self.entrance,
            options.pop("tracing", None),
        )
        self.site = RegistrySite(resource, options.pop("reactor", reactor), self.records.append, **options)
        self.site.protocol = CountedChannel
        self.site.live = set()
        self.site.quiet = None
        self.clients: list[RawClient] = []

    async def __aenter__(self) -> Front:
        factory = TLSMemoryBIOFactory(self.tls.options(), False, self.site) if self.tls else self.site
        self.port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        return self

    async def __aexit__(self, *args: object) -> None:
        for client in self.clients:
            if client.reason is None:
                client.transport.abortConnection()
                await client.ended()
        await self.port.stopListening()
        if self.site.live:
            self.site.quiet = Deferred()
            await self.site.quiet.addTimeout(10, reactor)

    async def connect(self) -> RawClient:
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        if self.tls:
            endpoint = wrapClientTLS(CertificateOptions(), endpoint)
        client = await connectProtocol(endpoint, RawClient())
        self.clients.append(client)
        return client

    async def raw(self, data: bytes) -> bytes:
        """All that comes back until the other side closes."""
        client = await self.connect()
        client.transport.write(data)
        return await client.ended()

    async def ask(self, method: str, target: str, *lines: str, body: bytes = b"") -> Reply:
        head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: mirror", "Connection: close", *lines])
        data = await self.raw(head.encode("latin-1") + b"\r\n\r\n" + body)
        reply, rest = parse(data, method == "HEAD")
        assert rest == b"", rest
        return reply


REPOSITORY = Repository("docker.io", "library/nginx")
CONTENT = b'{"schemaVersion":2,"layers":[]}'
MANIFEST = Manifest.receive(CONTENT, "application/vnd.oci.image.manifest.v1+json")
BLOB = bytes(range(256)) * 40
BLOB_DIGEST = Digest.of(BLOB)


def filled(**changes: Any) -> MemoryRegistry:
    """A registry with one manifest, one tag, one blob and one list."""
    registry = MemoryRegistry()
    registry.blob_map[REPOSITORY, BLOB_DIGEST] = BLOB
    registry.blob_map[REPOSITORY, Digest.of(b"")] = b""
    registry.manifest_map[REPOSITORY, MANIFEST.digest] = MANIFEST
    registry.tag_map[REPOSITORY, Tag("latest")] = TagAnswer(
        MANIFEST.descriptor, MANIFEST, How.REVALIDATED, **changes
    )
    registry.lists[REPOSITORY] = TagList(("1.0", "1.1", "2.0", "latest"), How.HIT)
    return registry


def failing(error: RegproxyError) -> MemoryRegistry:
    registry = filled()
    registry.error = error
    return registry
