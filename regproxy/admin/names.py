"""How people name an image: ``docker.io/library/nginx:1.29``, ``nginx@sha256:...``. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from regproxy.errors import InvalidName, InvalidRequest
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag
from regproxy.settings import UpstreamSettings

MAX_NAME_LENGTH = 512


class ImageNames:
    """Names by one set of upstreams; built once, never changed."""

    def __init__(self, upstreams: Iterable[UpstreamSettings]) -> None:
        self._by_name: dict[str, UpstreamSettings] = {}
        self._default: UpstreamSettings | None = None
        for upstream in upstreams:
            for name in (upstream.name, *upstream.aliases):
                self._by_name.setdefault(name, upstream)
            if upstream.default:
                self._default = upstream

    def parse(self, text: str) -> tuple[Repository, Reference | None]:
        """What ``text`` names: no tag and no digest is the whole repository, never ``latest``.

        A registry that the settings do not name (any more) is one where it looks like a host.
        Raises :exc:`InvalidRequest` and its kin.
        """
        if not text or len(text) > MAX_NAME_LENGTH or not text.isascii():
            raise InvalidRequest("an image is named as docker.io/library/nginx, with :TAG or @DIGEST for one")
        name, at, digest = text.partition("@")
        name, tag = _without_tag(name)
        if at and tag is not None:
            raise InvalidRequest("the image has a tag and a digest: name one of them")
        repository = self._repository(name.split("/"))
        if at:
            return repository, Digest.parse(digest)
        return repository, None if tag is None else Tag.parse(tag)

    def _repository(self, parts: list[str]) -> Repository:
        first = parts[0].lower()
        upstream = self._by_name.get(first)
        if upstream is not None:
            return _within(upstream, parts[1:])
        if len(parts) > 1 and ("." in first or ":" in first or first == "localhost"):
            return Repository.parse(first, "/".join(parts[1:]))
        if self._default is None:
            raise InvalidName("this mirror has no default upstream: put the registry before the name")
        return _within(self._default, parts)


def _within(upstream: UpstreamSettings, path: list[str]) -> Repository:
    if upstream.library and len(path) == 1:
        path = ["library", *path]
    if not path:
        raise InvalidName("the name of an upstream must be followed by a repository name")
    return Repository.parse(upstream.name, "/".join(path))


def _without_tag(name: str) -> tuple[str, str | None]:
    """A colon behind the last slash begins a tag; one before it a port."""
    before, colon, tag = name.rpartition(":")
    return (before, tag) if colon and "/" not in tag else (name, None)
