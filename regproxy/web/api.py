"""The registry API towards clients: parse, one call, answer.

What comes here was routed and let in by ``web.resource``. Who leaves cancels the handler's
Deferred, and with it what that handler alone waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import lru_cache
from typing import Any, Protocol

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import OK
from twisted.web.iweb import IRequest

from regproxy.access.entrance import Entrance
from regproxy.errors import ContentMismatch, UnknownUpstream, Unsupported
from regproxy.headers.conditionals import none_match_hits, wants_confirmed
from regproxy.headers.ranges import Span
from regproxy.interfaces import IBlob, IBlobService, IBody, IManifestService, ITagService, TagAnswer
from regproxy.oci.manifest import Descriptor
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.web.answers import (
    PRIVATE,
    Answer,
    Asked,
    Remarks,
    answer_block,
    blob_answer,
    manifest_answer,
    plain_headers,
)
from regproxy.web.listing import catalog_page, catalog_size, tag_page
from regproxy.web.request import RegistryRequest
from regproxy.web.routing import (
    BaseRoute,
    BlobRoute,
    CatalogRoute,
    ManifestRoute,
    Place,
    ReferrersRoute,
    TagsRoute,
)
from regproxy.web.senders import next_bytes, send_body

MAX_BLOCKS = 4096
"""So many heads of answers are kept, about 500 bytes each."""


class Registry(Protocol):
    """What answers: an upstream, the disk, or the proxy over both (structural, since ``proxy``
    knows nothing of ``web``)."""

    @property
    def blobs(self) -> IBlobService:
        """Blobs by digest."""

    @property
    def manifests(self) -> IManifestService:
        """Manifests by digest."""

    @property
    def tags(self) -> ITagService:
        """What tags mean, and which there are."""

    def manifest_at_hand(self, repository: Repository, reference: Reference) -> TagAnswer | None:
        """What needs neither waiting nor a question; None says nothing."""

    def warnings(self, repository: Repository, reference: Reference | None) -> tuple[str, ...]:
        """What the upstream warns of, with its answer about a tag, a digest or (None) its list of tags."""

    def repositories(
        self, upstream: str, visible: Callable[[Repository], bool], after: str | None, count: int
    ) -> Deferred[tuple[str, ...]]:
        """The first ``count`` names of an upstream that are on disk, ``visible``, and behind ``after``."""


Handler = Callable[["RegistryApi", RegistryRequest, Any], Coroutine[Deferred[Any], Any, None]]


class RegistryApi:
    """The routes, over one :class:`Registry`. ``clock`` gives the reactor back between pieces of a body.

    ``catalog`` says who sees which names; None: the catalog is off.
    """

    app = Klein()

    def __init__(self, registry: Registry, clock: IReactorTime, catalog: Entrance | None = None) -> None:
        self._registry = registry
        self._clock = clock
        self._listed_by = catalog

    def at_hand(self, request: RegistryRequest, route: ManifestRoute) -> bool:
        """Answer at once where the manifest is in memory: half of what clients ask, without Klein."""
        if isinstance(route.reference, Tag) and _is_forced(request):
            return False
        found = self._registry.manifest_at_hand(route.place.repository, route.reference)
        if found is None or found.manifest is None:
            return False
        passed_on = self._registry.warnings(route.place.repository, route.reference)
        plain = found.warning is None and not passed_on and request.trace is None
        if plain and request.header("If-None-Match") is None:
            request.how, request.digest = found.how, found.descriptor.digest
            block = _hit_block(found.descriptor, route.place, isinstance(route.reference, Tag))
            request.reply_with(OK, block, found.manifest.content)
        else:
            self._reply_manifest(request, route, found, passed_on)
        return True

    def _run(self, handler: Handler, request: IRequest) -> Deferred[None]:
        assert isinstance(request, RegistryRequest)
        running = Deferred.fromCoroutine(handler(self, request, request.route))
        # Klein ends a request whose handler has ended; this one ends by itself, when it is taken
        return running.addCallback(lambda _: request.over()).addErrback(request.failed)

    @app.route("/base")
    def base(self, request: IRequest) -> Deferred[None]:
        """``/v2/``, answered here (R1)."""
        return self._run(RegistryApi._base, request)

    @app.route("/catalog")
    def catalog(self, request: IRequest) -> Deferred[None]:
        """``/v2/_catalog``."""
        return self._run(RegistryApi._catalog, request)

    @app.route("/referrers")
    def referrers(self, request: IRequest) -> Deferred[None]:
        """``/v2/<name>/referrers/<digest>``."""
        return self._run(RegistryApi._referrers, request)

    @app.route("/manifest")
    def manifest(self, request: IRequest) -> Deferred[None]:
        """``/v2/<name>/manifests/<reference>``."""
        return self._run(RegistryApi._manifest, request)

    @app.route("/blob")
    def blob(self, request: IRequest) -> Deferred[None]:
        """``/v2/<name>/blobs/<digest>``."""
        return self._run(RegistryApi._blob, request)

    @app.route("/tags")
    def tags(self, request: IRequest) -> Deferred[None]:
        """``/v2/<name>/tags/list``."""
        return self._run(RegistryApi._tags, request)

    async def _base(self, request: RegistryRequest, route: BaseRoute) -> None:
        request.reply(_json_answer(b"{}"), b"{}")

    async def _catalog(self, request: RegistryRequest, route: CatalogRoute) -> None:
        entrance, upstream = self._listed_by, route.upstream
        if entrance is None:
            raise Unsupported(
                "the catalog is off in this mirror; its operator can write access.catalog: true"
            )
        if upstream is None:
            raise UnknownUpstream("this mirror has no default upstream: ask for the catalog of one by ?ns=")
        who = request.identity
        entrance.check_uses(who, upstream, tried=request.tried)
        names = await self._registry.repositories(
            upstream, lambda each: entrance.policy.sees(who, each), route.last, catalog_size(route) + 1
        )
        page = catalog_page(route, names)
        headers = [PRIVATE] if page.link is None else [PRIVATE, ("Link", page.link)]
        request.reply(_json_answer(page.content, headers), page.content)

    async def _referrers(self, request: RegistryRequest, route: ReferrersRoute) -> None:
        raise Unsupported("this mirror does not serve referrers; look for the tag sha256-<hex> instead")

    async def _manifest(self, request: RegistryRequest, route: ManifestRoute) -> None:
        found = await self._find_manifest(route, descriptor_only=request.is_head, forced=_is_forced(request))
        passed_on = self._registry.warnings(route.place.repository, route.reference)
        self._reply_manifest(request, route, found, passed_on)

    def _reply_manifest(
        self, request: RegistryRequest, route: ManifestRoute, found: TagAnswer, passed_on: tuple[str, ...]
    ) -> None:
        request.how, request.digest, request.cause = found.how, found.descriptor.digest, found.warning
        remarks = _remarks(route.place, found.warning, found.age_s, passed_on)
        by_tag = isinstance(route.reference, Tag)
        answer = manifest_answer(found.descriptor, _asked(request), remarks, by_tag=by_tag)
        request.reply(answer, b"" if found.manifest is None else found.manifest.content)

    async def _find_manifest(self, route: ManifestRoute, *, descriptor_only: bool, forced: bool) -> TagAnswer:
        repository, reference = route.place.repository, route.reference
        if isinstance(reference, Tag):
            tags = self._registry.tags
            return await (tags.stat if descriptor_only else tags.get)(repository, reference, forced)
        manifests = self._registry.manifests
        return await (manifests.look if descriptor_only else manifests.fetch)(repository, reference)

    async def _blob(self, request: RegistryRequest, route: BlobRoute) -> None:
        request.digest = route.digest
        asked = _asked(request)
        blobs, repository = self._registry.blobs, route.place.repository
        if asked.head or none_match_hits(asked.none_match, route.digest):
            found = await blobs.look(repository, route.digest)
            request.how = found.how
            request.reply(blob_answer(route.digest, found.size, asked, _remarks(route.place)))
            return
        blob = await blobs.open(repository, route.digest)
        request.how = blob.how
        answer = blob_answer(route.digest, blob.size, asked, _remarks(route.place))
        await self._send_blob(request, blob, answer, repository.upstream)

    async def _send_blob(self, request: RegistryRequest, blob: IBlob, answer: Answer, upstream: str) -> None:
        if answer.status not in (200, 206):
            blob.close()
            request.reply(answer)
            return
        span = answer.span
        body = blob.body() if span is None or answer.whole else blob.body(span.start, span.stop)
        try:
            first = await self._first_bytes(body, span, upstream)
        except BaseException:
            body.close()
            raise
        request.send_head(answer)
        length = None if span is None else span.length
        await send_body(request, body, first, length, self._clock, upstream)
        if not request.is_gone():
            request.finish()

    async def _first_bytes(self, body: IBody, span: Span | None, upstream: str) -> bytes:
        """What is in hand before the status line leaves (R37)."""
        first = await next_bytes(body)
        if not first and span is not None and span.length:
            raise ContentMismatch(upstream, "the body ended before its first byte")
        return first

    async def _tags(self, request: RegistryRequest, route: TagsRoute) -> None:
        found = await self._registry.tags.list(route.place.repository)
        request.how, request.cause = found.how, found.warning
        page = tag_page(route, found.tags)
        passed_on = self._registry.warnings(route.place.repository, None)
        headers = plain_headers(_remarks(route.place, found.warning, found.age_s, passed_on))
        if route.place.private:
            headers.append(PRIVATE)
        if page.link is not None:
            headers.append(("Link", page.link))
        request.reply(_json_answer(page.content, headers), page.content)


@lru_cache(MAX_BLOCKS)
def _hit_block(descriptor: Descriptor, place: Place, by_tag: bool) -> bytes:
    """The head of a plain 200: the same one for every client that asks in the same way."""
    return answer_block(manifest_answer(descriptor, Asked(), _remarks(place), by_tag=by_tag))


def _is_forced(request: RegistryRequest) -> bool:
    """Whether the client wants a tag confirmed; content by digest needs no confirmation."""
    headers = request.requestHeaders
    if not headers.hasHeader(b"Cache-Control") and not headers.hasHeader(b"Pragma"):
        return False
    return wants_confirmed(request.header("Cache-Control"), request.header("Pragma"))


def _asked(request: RegistryRequest) -> Asked:
    return Asked(
        none_match=request.header("If-None-Match"),
        range=request.header("Range"),
        if_range=request.header("If-Range"),
        head=request.is_head,
    )


def _remarks(
    place: Place, warning: str | None = None, age_s: float = 0.0, passed_on: tuple[str, ...] = ()
) -> Remarks:
    return Remarks(place.private, place.namespace, warning, age_s, passed_on)


def _json_answer(content: bytes, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    length = ("Content-Length", str(len(content)))
    return Answer(200, (*headers, ("Content-Type", "application/json"), length), whole=True)
