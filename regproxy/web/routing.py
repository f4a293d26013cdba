"""From a request target to what it names: one pure function for every URL shape.

Served here: ``?ns=`` (shape A), a prefix after ``/v2/`` (B), the default upstream (E). A prefix
before ``/v2/`` (C) and the Host (D) are two more ways to choose the upstream and go into
:meth:`Routes.find` and :meth:`Routes._choose`; nothing else depends on the shape.

``ns`` and prefixes are looked up in the settings, never dialled: a closed world (R97).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import attrs

from regproxy.errors import (
    InvalidName,
    InvalidPage,
    InvalidTarget,
    UnknownRoute,
    UnknownUpstream,
    WriteRefused,
)
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, parse_reference
from regproxy.settings import UpstreamSettings
from regproxy.web.targets import parse_query, split_path

MAX_PAGE = 10_000
"""The largest page of a listing; a larger ``n`` is clamped, never refused (R94)."""

MAX_KNOWN = 4096
"""So many targets are remembered with what they name: nodes of a cluster ask for the same ones."""
MAX_KNOWN_BYTES = 512

_QUERY = frozenset({"ns", "n", "last"})
_NUMBER = re.compile(r"[0-9]+", re.ASCII)


@attrs.frozen(slots=True)
class Place:
    """Which repository is meant, and how the client said so.

    ``name`` is the name as the client wrote it, ``namespace`` its ``ns`` where it chose the
    upstream; ``private``: the content is not for everybody (caches of others are told so).
    """

    repository: Repository
    name: str
    namespace: str | None = None
    private: bool = False


@attrs.frozen(slots=True)
class BaseRoute:
    """``/v2/``: are you a registry? (R1)"""


@attrs.frozen(slots=True)
class CatalogRoute:
    """``/v2/_catalog`` (R95), of the upstream that the client means; None: there is no default one.

    ``prefix`` and ``namespace`` are how the client said so; ``n`` and ``last`` as for tags.
    """

    upstream: str | None = None
    prefix: str | None = None
    namespace: str | None = None
    n: int | None = None
    last: str | None = None


@attrs.frozen(slots=True)
class ManifestRoute:
    """``/v2/<name>/manifests/<reference>``."""

    place: Place
    reference: Reference


@attrs.frozen(slots=True)
class BlobRoute:
    """``/v2/<name>/blobs/<digest>``."""

    place: Place
    digest: Digest


@attrs.frozen(slots=True)
class TagsRoute:
    """``/v2/<name>/tags/list``: at most ``n`` tags after ``last``; ``n`` None: not asked for."""

    place: Place
    n: int | None = None
    last: str | None = None


@attrs.frozen(slots=True)
class ReferrersRoute:
    """``/v2/<name>/referrers/<digest>`` (R96)."""

    place: Place
    digest: Digest


Route: TypeAlias = BaseRoute | CatalogRoute | ManifestRoute | BlobRoute | TagsRoute | ReferrersRoute


class Routes:
    """The map of one set of upstreams; built once, never changed."""

    def __init__(self, upstreams: Iterable[UpstreamSettings]) -> None:
        self._upstreams = tuple(upstreams)
        self._by_name: dict[str, UpstreamSettings] = {}
        for upstream in self._upstreams:
            for name in (upstream.name, *upstream.aliases):
                self._by_name.setdefault(name.lower(), upstream)
        for upstream in self._upstreams:
            for name in _with_default_ports(upstream):
                self._by_name.setdefault(name, upstream)
        self._known: dict[tuple[bytes, bytes, str | None], Route] = {}
        self._default = next((each for each in self._upstreams if each.default), None)

    @property
    def upstreams(self) -> tuple[UpstreamSettings, ...]:
        """Those that it knows."""
        return self._upstreams

    def find(self, path: bytes, query: bytes, host: str | None = None) -> Route:
        """What a raw path and query name; ``host`` is the request's Host, for the shape to come.

        Raises :exc:`InvalidRequest` and its kin (400), :exc:`UnknownRoute` and
        :exc:`UnknownUpstream` (404), :exc:`WriteRefused` for a route that only writes (405).
        """
        asked = path, query, host
        route = self._known.get(asked)
        if route is None:
            route = self._find(path, query)
            if len(path) + len(query) + len(host or "") <= MAX_KNOWN_BYTES:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[asked] = route
        return route

    def _find(self, path: bytes, query: bytes) -> Route:
        parts = split_path(path)
        if parts[0] != "v2":
            raise UnknownRoute("this is a registry mirror: its paths begin with /v2/")
        asked = parse_query(query, _QUERY)
        rest = parts[1:]
        if rest in ([], [""]):
            return BaseRoute()
        if rest[-1] == "_catalog" and len(rest) <= 2:
            return self._catalog(rest[:-1], asked)
        if _is_upload(rest):
            raise WriteRefused("this mirror is read-only: push to the registry itself")
        if rest[-1] == "":
            raise InvalidTarget("the path ends with '/'")
        return self._content(rest, asked)

    def _catalog(self, prefix: list[str], asked: dict[str, str]) -> Route:
        namespace = asked.get("ns")
        named = self._lookup(namespace) if namespace is not None else self._default
        if prefix:
            prefixed = self._named(prefix[0])
            if prefixed is None or not prefixed.prefix:
                raise UnknownUpstream("the path begins with what is not among this mirror's upstreams")
            if namespace is not None and named is not prefixed:
                raise InvalidTarget("ns and the first component of the name mean different upstreams")
            named = prefixed
        return CatalogRoute(
            None if named is None else named.name,
            prefix[0] if prefix else None,
            namespace,
            _page_size(asked.get("n")),
            asked.get("last"),
        )

    def _content(self, rest: list[str], asked: dict[str, str]) -> Route:
        if len(rest) < 3:
            raise UnknownRoute("no such path in the registry API")
        name, word, last = rest[:-2], rest[-2], rest[-1]
        if word == "manifests":
            return ManifestRoute(self._place(name, asked), parse_reference(last))
        if word == "blobs":
            return BlobRoute(self._place(name, asked), Digest.parse(last))
        if word == "tags" and last == "list":
            return TagsRoute(self._place(name, asked), _page_size(asked.get("n")), asked.get("last"))
        if word == "referrers":
            return ReferrersRoute(self._place(name, asked), Digest.parse(last))
        raise UnknownRoute("no such path in the registry API")

    def _place(self, name: list[str], asked: dict[str, str]) -> Place:
        namespace = asked.get("ns")
        upstream, path = self._choose(name, namespace)
        if upstream.library and len(path) == 1:
            path = ["library", *path]
        repository = Repository.parse(upstream.name, "/".join(path))
        return Place(repository, "/".join(name), namespace, upstream.guarded)

    def _choose(self, name: list[str], namespace: str | None) -> tuple[UpstreamSettings, list[str]]:
        """The upstream, and the name without the component that chose it."""
        named = self._lookup(namespace) if namespace is not None else None
        prefixed = self._named(name[0])
        if prefixed is None or not prefixed.prefix:
            return named or self._fallback(name), name
        if named is not None and named is not prefixed:
            raise InvalidTarget("ns and the first component of the name mean different upstreams")
        if len(name) == 1:
            raise InvalidName("the name of an upstream must be followed by a repository name")
        return prefixed, name[1:]

    def _lookup(self, namespace: str) -> UpstreamSettings:
        upstream = self._named(namespace)
        if upstream is None:
            raise UnknownUpstream("ns names a registry that is not among this mirror's upstreams")
        return upstream

    def _named(self, name: str) -> UpstreamSettings | None:
        """The upstream of this name; signs that only become ASCII by ``lower()`` name none."""
        return self._by_name.get(name.lower()) if name.isascii() else None

    def _fallback(self, name: list[str]) -> UpstreamSettings:
        """The default upstream. No name on Docker Hub begins with a host: such a one is meant for
        another registry, and is not told to the Hub."""
        if self._default is None:
            raise UnknownUpstream(
                "this mirror has no default upstream: put its name before the repository, or ?ns= behind"
            )
        if self._default.library and len(name) > 1 and ("." in name[0] or name[0] == "localhost"):
            raise UnknownUpstream("the name begins with a registry that is not among this mirror's upstreams")
        return self._default


def _with_default_ports(upstream: UpstreamSettings) -> Iterator[str]:
    """The other spellings of an upstream's names: without a default port, or with either (R97).

    Either, because clients put the port of the scheme that they think of, not of our endpoint's.
    """
    for name in (upstream.name, *upstream.aliases):
        bare = name.lower().removesuffix(":80").removesuffix(":443")
        if ":" not in bare:
            yield from (bare, f"{bare}:80", f"{bare}:443")


def _is_upload(rest: list[str]) -> bool:
    """``<name>/blobs/uploads/[<id>]``: there is nothing to read (R98)."""
    return len(rest) >= 4 and rest[-3:-1] == ["blobs", "uploads"]


def _page_size(text: str | None) -> int | None:
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise InvalidPage("n is not a number of tags")
    digits = text.lstrip("0") or "0"
    return MAX_PAGE if len(digits) > 5 else min(int(digits), MAX_PAGE)
