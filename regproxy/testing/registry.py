"""A registry on a free port whose every answer can be scripted, with a second host as its CDN.

It serves what is put into it as the OCI distribution-spec says, until :meth:`ScriptableRegistry.script`
tells it otherwise, and keeps a record of every request. Real sockets, one process, no thread.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory

from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.testing.actions import Action, Scene, to_cdn
from regproxy.testing.contents import (
    ANSWERERS,
    Holding,
    Quirks,
    error_reply,
    json_reply,
    ranged,
    tags_reply,
)
from regproxy.testing.images import Image
from regproxy.testing.record import RequestLog, RequestRecord, Target, classify
from regproxy.testing.reply import HeardRequest, Reply
from regproxy.testing.rules import Guard, Match, Rule
from regproxy.testing.server import Server
from regproxy.testing.tokens import TokenServer
from regproxy.testing.wire import Progress


class ScriptableRegistry:
    """An upstream registry for tests. ``tls`` makes both of its hosts speak https."""

    def __init__(
        self,
        reactor: object,
        *,
        quirks: Quirks | None = None,
        guard: Guard | None = None,
        tls: IOpenSSLContextFactory | None = None,
        tokens: TokenServer | None = None,
    ) -> None:
        """``tokens``: a token server at a path of this host; it has a log of its own."""
        self.quirks = quirks or Quirks()
        self.guard = guard
        self.log = RequestLog()
        self._holdings: dict[str, Holding] = {}
        self._rules: list[Rule] = []
        self._registry = Server(reactor, self._answer_registry, tls)
        self._cdn = Server(reactor, self._answer_cdn, tls)
        self._tokens = tokens
        if tokens is not None:
            tokens.move_to(self)

    def __repr__(self) -> str:
        return f"<ScriptableRegistry {self.url} {len(self._holdings)} repositories {len(self.log)} requests>"

    def start(self) -> Deferred[None]:
        """Listen on two free ports."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self._registry.listen()
        self._cdn.listen()

    def stop(self) -> Deferred[None]:
        """Give up both ports and cut every connection; idempotent."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._registry.close()
        await self._cdn.close()

    def refuse_connections(self) -> Deferred[None]:
        """Stop listening (connection refused) and cut what is open; accept_connections() undoes it."""
        return Deferred.fromCoroutine(self._registry.close())

    def accept_connections(self) -> None:
        """Listen again, on the same port."""
        self._registry.listen()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``."""
        return self._registry.url

    @property
    def port(self) -> int:
        """The port of :attr:`url`."""
        return self._registry.port

    @property
    def cdn_url(self) -> str:
        """The same of the CDN."""
        return self._cdn.url

    @property
    def netloc(self) -> str:
        """``127.0.0.1:port``, as clients write a registry."""
        return f"{self._registry.host}:{self._registry.port}"

    @property
    def connection_count(self) -> int:
        """Connections open now, the CDN's too."""
        return self._registry.connection_count + self._cdn.connection_count

    def holding(self, repository: str) -> Holding:
        """The repository's content, made when it is not there: put and delete in it as you like."""
        return self._holdings.setdefault(repository, Holding())

    def put_image(self, repository: str, tag: str | None, image: Image) -> Image:
        """All of ``image``, its top under ``tag``."""
        self.holding(repository).put_image(image, tag)
        return image

    def put_blob(self, repository: str, content: bytes, algorithm: str = "sha256") -> Digest:
        """A blob."""
        digest = Digest.of(content, algorithm)
        self.holding(repository).blobs[digest] = content
        return digest

    def put_manifest(self, repository: str, manifest: Manifest) -> Digest:
        """A manifest, its bytes and type as they are."""
        self.holding(repository).manifests[manifest.digest] = manifest
        return manifest.digest

    def set_tag(self, repository: str, tag: str, digest: Digest) -> None:
        """Point ``tag`` at ``digest``, be it there or not."""
        self.holding(repository).tags[tag] = digest

    def script(self, match: Match, *actions: Action) -> Rule:
        """From now on apply ``actions`` to what ``match`` says; the last rule that takes a request acts.

        Requests that the guard refuses meet no rule.
        """
        rule = Rule(match, actions)
        self._rules.append(rule)
        return rule

    def unscript(self, rule: Rule | None = None) -> None:
        """Forget ``rule``, or all; answers under way are not changed."""
        self._rules = [] if rule is None else [held for held in self._rules if held is not rule]

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request since the start or clear(), of both hosts, in the order of arrival."""
        return tuple(self.log)

    def count(
        self,
        method: str | None = None,
        kind: str | None = None,
        repository: str | None = None,
        reference: str | None = None,
        status: int | None = None,
        host: str | None = None,
    ) -> int:
        """How many requests there were that have all of these."""
        return len(self.log.select(method, kind, repository, reference, status, host))

    def clear(self) -> None:
        """Forget the requests so far."""
        self.log.clear()

    def _answer_registry(self, request: HeardRequest) -> tuple[Reply, Progress]:
        if self._tokens is not None and request.path == self._tokens.path:
            return self._tokens.answer(request)
        target = classify(request.path)
        progress = self.log.begin("registry", self._registry.port, request, target)
        refusal = self.guard.refuse(request, target) if self.guard is not None else None
        if refusal is not None:
            return refusal, progress
        return self._scripted(self._right_reply(request, target), request, target), progress

    def _answer_cdn(self, request: HeardRequest) -> tuple[Reply, Progress]:
        target = classify(request.path)
        progress = self.log.begin("cdn", self._cdn.port, request, target)
        return self._scripted(self._cdn_reply(request, target), request, target), progress

    def _scripted(self, reply: Reply, request: HeardRequest, target: Target) -> Reply:
        taking = [rule for rule in self._rules if rule.match.covers(request, target)]
        acting = [rule for rule in taking if rule.takes(request, target)]
        if not acting:
            return reply
        plain = tuple(pair for pair in request.headers if pair[0].lower() != "range")
        whole = self._whole(attrs.evolve(request, headers=plain), target)
        scene = Scene(request, target, self.url, self.cdn_url, whole)
        for action in acting[-1].actions:
            reply = action(reply, scene)
        return reply

    def _whole(self, request: HeardRequest, target: Target) -> Reply:
        if target.kind == "cdn":
            return self._cdn_reply(request, target)
        return self._right_reply(request, target)

    def _right_reply(self, request: HeardRequest, target: Target) -> Reply:
        if request.method not in ("GET", "HEAD"):
            return error_reply(405, "UNSUPPORTED", "the operation is unsupported", ("Allow", "GET, HEAD"))
        reply = self._read(request, target)
        for name, value in self.quirks.extra_headers.get(target.kind, ()):
            reply = reply.with_header(name, value)
        return reply

    def _read(self, request: HeardRequest, target: Target) -> Reply:
        held = self._holdings.get(target.repository or "")
        if target.kind == "base":
            return json_reply({})
        if target.kind == "tags":
            return tags_reply(held, target, request, self.quirks, self.url)
        if target.kind not in ANSWERERS:
            return error_reply(404, "UNSUPPORTED", "no such path")
        reply = ANSWERERS[target.kind](held, target, request, self.quirks)
        code = self.quirks.blob_redirect_status
        if target.kind == "blob" and code is not None and reply.status in (200, 206):
            return to_cdn(code)(reply, Scene(request, target, self.url, self.cdn_url, reply))
        return reply

    def _cdn_reply(self, request: HeardRequest, target: Target) -> Reply:
        """As an object store: no registry headers, its own ETag, no Authorization beside a signature."""
        if request.header("Authorization") is not None:
            return Reply(400, (("Content-Type", "application/xml"),), b"<Error>one auth only</Error>")
        held = self._holdings.get(target.repository or "")
        content = held.blob(target.reference or "") if held is not None else None
        if content is None and held is not None:
            manifest = held.manifest(target.reference or "")
            content = manifest.content if manifest is not None else None
        if content is None:
            return Reply(404, (("Content-Type", "application/xml"),), b"<Error>NoSuchKey</Error>")
        kept = Digest.of(content)
        tag = ("ETag", f'"{kept.hex[:32]}"')
        whole = Reply(200, (("Content-Type", "application/xml"), tag, ("Accept-Ranges", "bytes")), content)
        strong = request.header("If-Range") in (None, tag[1])
        return ranged(whole, _without(request, "If-Range"), kept) if strong else whole


def _without(request: HeardRequest, name: str) -> HeardRequest:
    kept = tuple(pair for pair in request.headers if pair[0].lower() != name.lower())
    return attrs.evolve(request, headers=kept)
