"""What a registry double holds, and the right answers about it (OCI distribution, read side)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from urllib.parse import quote

import attrs

from regproxy.headers.conditionals import none_match_hits, range_holds
from regproxy.headers.ranges import Span, Unsatisfiable, choose_range
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest
from regproxy.oci.media_type import essence
from regproxy.testing.images import Image
from regproxy.testing.record import Target
from regproxy.testing.reply import HeardRequest, Reply

API_VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")


@attrs.define(slots=True)
class Holding:
    """One repository's content."""

    manifests: dict[Digest, Manifest] = attrs.field(factory=dict)
    blobs: dict[Digest, bytes] = attrs.field(factory=dict)
    tags: dict[str, Digest] = attrs.field(factory=dict)

    def put_image(self, image: Image, tag: str | None = None) -> None:
        """Everything of ``image``, and a tag for its top."""
        self.blobs.update(image.all_blobs())
        for manifest in image.all_manifests():
            self.manifests[manifest.digest] = manifest
        if tag is not None:
            self.tags[tag] = image.digest

    def manifest(self, reference: str) -> Manifest | None:
        """The manifest that a tag or digest means here."""
        if reference in self.tags:
            return self.manifests.get(self.tags[reference])
        return next((held for digest, held in self.manifests.items() if str(digest) == reference), None)

    def blob(self, reference: str) -> bytes | None:
        """The blob of this digest."""
        return next((held for digest, held in self.blobs.items() if str(digest) == reference), None)


@attrs.frozen(slots=True)
class Quirks:
    """In what a real registry differs from the specification; the defaults are its letter."""

    strict_accept: bool = False
    """404 for a manifest whose type the Accept header does not list (ghcr)."""
    blob_head_status: int | None = None
    """The answer to every HEAD of a blob (ECR Public: 401)."""
    manifest_head_status: int | None = None
    """The answer to every HEAD of a manifest (405: an old registry)."""
    digest_header: bool = True
    """Whether answers carry Docker-Content-Digest."""
    etags: bool = True
    """Whether answers carry an ETag."""
    ranges: bool = True
    """Whether a Range is honoured."""
    manifest_type: str | None = None
    """The Content-Type of every manifest, whatever it is (``text/plain``)."""
    blob_redirect_status: int | None = None
    """Blobs are redirected to the CDN with this status."""
    extra_headers: Mapping[str, tuple[tuple[str, str], ...]] = attrs.field(factory=dict)
    """Headers more, by kind: ``{"manifest": (("RateLimit-Limit", "100;w=21600"),)}``."""
    absolute_links: bool = False
    """Whether the Link of a page is an absolute URL."""
    max_page: int | None = None
    """At most so many tags a page, whatever ``n`` says."""


def error_reply(status: int, code: str, message: str, *headers: tuple[str, str]) -> Reply:
    """An error as the specification writes it."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    return Reply(status, (API_VERSION, ("Content-Type", "application/json"), *headers), body)


def json_reply(document: object, *headers: tuple[str, str]) -> Reply:
    """A JSON document with 200."""
    body = json.dumps(document).encode()
    return Reply(200, (API_VERSION, ("Content-Type", "application/json"), *headers), body)


def manifest_reply(held: Holding | None, target: Target, request: HeardRequest, quirks: Quirks) -> Reply:
    """The answer to GET or HEAD of a manifest."""
    if request.method == "HEAD" and quirks.manifest_head_status is not None:
        return error_reply(quirks.manifest_head_status, "UNSUPPORTED", "no HEAD of manifests here")
    if held is None:
        return error_reply(404, "NAME_UNKNOWN", "repository name not known to registry")
    manifest = held.manifest(target.reference or "")
    accepted = not quirks.strict_accept or _accepts(request, manifest.media_type if manifest else "")
    if manifest is None or not accepted:
        return error_reply(404, "MANIFEST_UNKNOWN", "manifest unknown")
    content_type = quirks.manifest_type or manifest.media_type
    return _content(request, manifest.content, manifest.digest, content_type, quirks)


def _accepts(request: HeardRequest, media_type: str) -> bool:
    values = [value for name, value in request.headers if name.lower() == "accept"]
    listed = {essence(part) for value in values for part in value.split(",")}
    return bool(listed & {media_type, "*/*", "application/*"})


def blob_reply(held: Holding | None, target: Target, request: HeardRequest, quirks: Quirks) -> Reply:
    """The answer to GET or HEAD of a blob."""
    if request.method == "HEAD" and quirks.blob_head_status is not None:
        return error_reply(quirks.blob_head_status, "UNAUTHORIZED", "no HEAD of blobs here")
    content = None if held is None else held.blob(target.reference or "")
    if content is None:
        return error_reply(404, "BLOB_UNKNOWN", "blob unknown to registry")
    digest = Digest.parse(target.reference or "")
    return _content(request, content, digest, "application/octet-stream", quirks, ranges=quirks.ranges)


def _content(
    request: HeardRequest,
    content: bytes,
    digest: Digest,
    content_type: str,
    quirks: Quirks,
    ranges: bool = False,
) -> Reply:
    named = [("Docker-Content-Digest", str(digest))] if quirks.digest_header else []
    named += [("ETag", f'"{digest}"')] if quirks.etags else []
    headers = (API_VERSION, *named)
    if none_match_hits(request.header("If-None-Match"), digest):
        return Reply(304, headers)
    if ranges:
        headers = (*headers, ("Accept-Ranges", "bytes"))
    whole = Reply(200, (*headers, ("Content-Type", content_type)), content)
    return ranged(whole, request, digest) if ranges else whole


def ranged(whole: Reply, request: HeardRequest, digest: Digest) -> Reply:
    """``whole``, or the part of it that the request asks for: 206 or 416."""
    if not range_holds(request.header("If-Range"), digest) or request.method == "HEAD":
        return whole
    size = len(whole.body)
    wanted = choose_range(request.header("Range"), size)
    if isinstance(wanted, Unsatisfiable):
        refusal = error_reply(416, "RANGE_INVALID", "nothing in that range")
        return refusal.with_header("Content-Range", f"bytes */{size}")
    if not isinstance(wanted, Span):
        return whole
    part = attrs.evolve(whole, status=206, body=whole.body[wanted.start : wanted.stop])
    return part.with_header("Content-Range", wanted.content_range(size))


def tags_reply(
    held: Holding | None, target: Target, request: HeardRequest, quirks: Quirks, base_url: str
) -> Reply:
    """The answer to tags/list, in pages where ``n`` or the quirks say so."""
    if held is None:
        return error_reply(404, "NAME_UNKNOWN", "repository name not known to registry")
    last = request.query.get("last", [""])[0]
    limit = request.query.get("n", [None])[0]
    if limit is not None and not limit.isdecimal():
        return error_reply(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
    count = min(_limits(limit, quirks.max_page), default=None)
    rest = sorted(name for name in held.tags if name > last)
    page = rest[:count]
    links = []
    if count and len(rest) > count:
        path = f"/v2/{target.repository}/tags/list?last={quote(page[-1])}&n={count}"
        links = [("Link", f'<{base_url if quirks.absolute_links else ""}{path}>; rel="next"')]
    return json_reply({"name": target.repository, "tags": page}, *links)


def _limits(limit: str | None, max_page: int | None) -> list[int]:
    return [number for number in (int(limit) if limit else None, max_page) if number is not None]


Answerer = Callable[[Holding | None, Target, HeardRequest, Quirks], Reply]
ANSWERERS: Mapping[str, Answerer] = {"manifest": manifest_reply, "blob": blob_reply}
