"""Brings images here as a client would: tag, manifests, layers, by the registry's ordinary ways.

Laws: it asks an upstream no more than clients may, and leaves it alone while its rate limit is nearly used
up, or it is down. Three layers at a time. What fails costs its image only. Nothing is sent to anybody.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from regproxy.errors import (
    ContentError,
    Denied,
    NotBrought,
    NotFound,
    RegproxyError,
    StorageFailed,
    UpstreamTrouble,
)
from regproxy.interfaces import How, ILocalStore, IRemoteRegistry, TagAnswer, Thrift
from regproxy.inventory.progress import Layer, Progress, Stage
from regproxy.oci import media_type as types
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.platforms import Platform, children, chosen
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.proxy.parts import MAX_READ_BYTES
from regproxy.proxy.permission import rightful
from regproxy.proxy.registry import ProxyRegistry

AT_ONCE = 3
PACE_S = 3.0
"""How often it tries again to have a tag confirmed that it may not have confirmed yet."""
TRIES = 6
MAX_MANIFESTS = 256
CONFIRMED = frozenset({How.REVALIDATED, How.MISS, How.JOINED})

Platforms = Sequence[Platform] | None
"""None: all of them."""


@attrs.frozen(slots=True)
class Errand:
    """One image to fetch. ``confirm``: its tag is asked for, fresh or not, and what it names is fetched only
    where that has changed, for the platforms that were here."""

    repository: Repository
    reference: Reference
    platforms: Platforms = None
    confirm: bool = False

    def __str__(self) -> str:
        return f"{self.repository}{':' if isinstance(self.reference, Tag) else '@'}{self.reference}"


class Warming:
    """Over ``registry``, its ``store`` and ``remotes``."""

    def __init__(
        self,
        registry: ProxyRegistry,
        store: ILocalStore,
        remotes: Mapping[str, IRemoteRegistry],
        clock: IReactorTime,
    ) -> None:
        self._registry = registry
        self._store = store
        self._remotes = remotes
        self._clock = clock
        self._asked: set[str] = set()
        """Upstreams that were asked what their rate limit leaves."""

    async def run(self, errands: Sequence[Errand], progress: Progress) -> None:
        """One image after the other; what fails is in ``progress``. Cancelling ends it."""
        for errand in errands:
            progress.begin(str(errand))
            try:
                await self._check(errand.repository, errand.reference)
                await self._fetch(errand, progress)
            except RegproxyError as error:
                progress.end(error.message)
            else:
                progress.end(None)

    async def _check(self, repository: Repository, reference: Reference) -> None:
        """Whether the upstream may be asked for a manifest. After a start nothing is known of its limit:
        a HEAD, which costs none of it, tells before the first GET takes one that is left to clients."""
        upstream = repository.upstream
        self._check_upstream(upstream)
        if upstream in self._asked or self._is_here(repository, reference):
            return
        if self._remotes[upstream].allowance().limit is None:
            await self._ask_what_is_left(repository, reference)
            self._check_upstream(upstream)

    async def _ask_what_is_left(self, repository: Repository, reference: Reference) -> None:
        """Once of each upstream that answers; what else is wrong is told by the GET."""
        remote = self._remotes[repository.upstream]
        with contextlib.suppress(RegproxyError):
            try:
                if isinstance(reference, Tag):
                    await remote.tags.stat(repository, reference, None)
                else:
                    await remote.manifests.stat(repository, reference)
            except (NotFound, Denied):
                pass
            self._asked.add(repository.upstream)

    def _is_here(self, repository: Repository, reference: Reference) -> bool:
        if isinstance(reference, Tag):
            return self._store.tag(repository, reference) is not None
        return rightful(self._store, repository, reference)

    def _check_upstream(self, upstream: str) -> None:
        remote = self._remotes.get(upstream)
        if remote is None:
            raise NotBrought(f"the settings name no upstream {upstream}")
        standing = remote.standing()
        if not standing.asked:
            raise UpstreamTrouble(upstream, f"it is not asked now ({standing.reason or 'it is offline'})")
        allowance = remote.allowance()
        if allowance.thrift >= Thrift.STALE:
            left = "" if allowance.remaining is None else f": {allowance.remaining} left"
            raise UpstreamTrouble(
                upstream, f"its rate limit is nearly used up{left}; the rest is for what clients pull"
            )

    async def _fetch(self, errand: Errand, progress: Progress) -> None:
        repository, platforms = errand.repository, errand.platforms
        before: Digest | None = None
        if errand.confirm and isinstance(errand.reference, Tag):
            record = self._store.tag(repository, errand.reference)
            before = None if record is None else record.descriptor.digest
            platforms = await self._platforms_of(repository, before)
            moved_to = (await self._confirmed(repository, errand.reference, progress)).descriptor.digest
            if moved_to == before:
                return
            progress.moved += 1
            answer = await self._registry.manifests.fetch(repository, moved_to)
        elif isinstance(errand.reference, Tag):
            answer = await self._registry.tags.get(repository, errand.reference)
            _check_stale(repository.upstream, answer)
        else:
            answer = await self._registry.manifests.fetch(repository, errand.reference)
        if answer.manifest is None:
            raise NotBrought("its manifest could not be read")
        images = await self._images(repository, answer.manifest, platforms)
        progress.layers = _layers(images)
        for layer in progress.layers:
            layer.fetched = self._store.holds(layer.digest) is None
        await self._blobs(repository, progress.layers)

    async def _confirmed(self, repository: Repository, tag: Tag, progress: Progress) -> TagAnswer:
        """What the upstream says now; a tag may be confirmed only so often (R54)."""
        for _ in range(TRIES):
            answer = await self._registry.tags.confirm(repository, tag)
            _check_stale(repository.upstream, answer)
            if answer.how in CONFIRMED:
                progress.waits = None
                return answer
            progress.waits = "tags are confirmed at the pace that is allowed for each upstream"
            await deferLater(self._clock, PACE_S)
        raise UpstreamTrouble(repository.upstream, "it may not be asked about this tag now; try later")

    async def _platforms_of(self, repository: Repository, digest: Digest | None) -> Platforms:
        """The platforms of an index that are here; none where only the index is."""
        if digest is None:
            return [Platform.here()]
        try:
            manifest = await self._store.manifests.get(repository, digest)
        except (ContentError, StorageFailed):
            return [Platform.here()]
        listed = children(manifest)
        here = [each for each in listed if rightful(self._store, repository, each.digest)]
        return None if not listed else [each.platform for each in here if each.platform is not None]

    async def _images(
        self, repository: Repository, top: Manifest, platforms: Platforms, depth: int = 0
    ) -> list[Manifest]:
        """The manifests that name layers, for the platforms that are wanted."""
        if len(top.content) > MAX_READ_BYTES:
            raise NotBrought("its manifest is larger than what is looked into")
        if top.media_type not in types.INDEX_TYPES:
            return [top]
        listed = children(top)
        digests = chosen(listed, platforms)[:MAX_MANIFESTS]
        if not digests and listed and platforms:
            there = sorted({str(each.platform) for each in listed if each.platform is not None})[:20]
            wanted = ", ".join(map(str, platforms))
            raise NotBrought(f"it has no image for {wanted}; there is {', '.join(there) or 'none that says'}")
        found: list[Manifest] = []
        for digest in digests:
            await self._check(repository, digest)
            answer = await self._registry.manifests.fetch(repository, digest)
            if answer.manifest is None:
                raise NotBrought("its manifest could not be read")
            if depth < 2:
                found += await self._images(repository, answer.manifest, platforms, depth + 1)
        return found[:MAX_MANIFESTS]

    async def _blobs(self, repository: Repository, layers: Sequence[Layer]) -> None:
        waiting = deque(layers)
        failed: list[RegproxyError] = []

        async def work() -> None:
            while waiting:
                layer = waiting.popleft()
                try:
                    await self._blob(repository, layer)
                except RegproxyError as error:
                    layer.stage = Stage.FAILED
                    failed.append(error)

        workers: list[Deferred[None]] = [Deferred.fromCoroutine(work()) for _ in range(AT_ONCE)]
        try:
            await gatherResults(workers, consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        if failed:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise NotBrought(f"{failed[0].message}{more}")

    async def _blob(self, repository: Repository, layer: Layer) -> None:
        layer.stage = Stage.FETCHING
        if self._store.holds(layer.digest) is None and not self._registry.fills.limit.allows(
            layer.size_bytes
        ):
            raise NotBrought(f"{layer.digest} is larger than half of storage.max_size, and is never kept")
        blob = await self._registry.blobs.open(repository, layer.digest)
        fill = self._registry.fills.running(layer.digest)
        if fill is None:
            blob.close()
        else:
            layer.moving = fill
            with fill.awaited():
                blob.close()
                await fill.when_over()
        if not rightful(self._store, repository, layer.digest):
            raise _why(None if fill is None else fill.failure, layer.digest)
        layer.stage, layer.moving = Stage.HERE, None


def _why(failure: BaseException | None, digest: Digest) -> RegproxyError:
    """What is told of a blob that came and is not here: ``failure`` is what ended its fill."""
    if isinstance(failure, RegproxyError):
        return failure
    return NotBrought(f"{digest} was not kept: the disk refuses it, or has no room for it")


def _check_stale(upstream: str, answer: TagAnswer) -> None:
    if answer.how is How.STALE:
        raise UpstreamTrouble(upstream, answer.warning or "only what is cached could be had")


def _layers(images: Sequence[Manifest]) -> list[Layer]:
    """Configs and layers of all of them, each once; not those that clients get elsewhere."""
    found: dict[Digest, Layer] = {}
    for manifest in images:
        for each in manifest.names():
            elsewhere = "foreign" in each.media_type or "nondistributable" in each.media_type
            if not elsewhere and each.media_type not in types.MANIFEST_TYPES:
                found.setdefault(each.digest, Layer(each.digest, each.size_bytes))
    return list(found.values())
