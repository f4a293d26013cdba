"""From a request target to what it names: one pure function for every URL shape.

``?ns=`` (shape A), a prefix after ``/v2/`` (B) or before it (C), the Host or the listener (D), none
of these (E): they differ in how the upstream is named, which :mod:`regproxy.namespaces` knows;
nothing else depends on the shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

import attrs

from regproxy.errors import InvalidPage, InvalidTarget, UnknownRoute, WriteRefused
from regproxy.namespaces import Meant, Namespaces, Said
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

    ``name`` is the name as the client wrote it, ``before`` the path in front of ``/v2/``,
    ``namespace`` its ``ns``; ``private``: the content is not for everybody (caches of others are
    told so).
    """

    repository: Repository
    name: str
    namespace: str | None = None
    private: bool = False
    before: str = ""


@attrs.frozen(slots=True)
class BaseRoute:
    """``/v2/``: are you a registry? (R1) And of the ``upstream`` that the client means, where it says so:
    what it is told here decides whether it logs in."""

    upstream: str | None = None


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
    before: str = ""
    """What stands before ``/v2/``, as ``/docker.io``."""


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
    """The map of one set of upstreams; built once, never changed. ``private``: nothing is for everybody."""

    def __init__(self, upstreams: Iterable[UpstreamSettings], private: bool = False) -> None:
        self._namespaces = Namespaces(upstreams)
        self._private = private
        self._known: dict[tuple[bytes, bytes, str | None, str | None], Route] = {}

    @property
    def upstreams(self) -> tuple[UpstreamSettings, ...]:
        """Those that it knows."""
        return self._namespaces.upstreams

    def find(self, path: bytes, query: bytes, host: str | None = None, listener: str | None = None) -> Route:
        """What a raw path and query name.

        ``host`` is the request's Host in lower case; ``listener`` the name of the upstream that the
        listener it came in by is bound to. Raises :exc:`InvalidRequest` and its kin (400),
        :exc:`UnknownRoute` and :exc:`UnknownUpstream` (404), :exc:`WriteRefused` for a route that
        only writes (405).
        """
        asked = path, query, host, listener
        route = self._known.get(asked)
        if route is None:
            route = self._find(path, query, host, listener)
            if len(path) + len(query) + len(host or "") <= MAX_KNOWN_BYTES:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[asked] = route
        return route

    def check_authority(self, host: str, port: int, own_port: int | None) -> None:
        """Raise :exc:`InvalidTarget` for the absolute form of a URL that is not at this mirror.

        What is: the names of upstreams, and whatever leads to the port that the request came in by
        (None: a socket without one). All others are meant for a proxy, and no proxy is here.
        """
        if self._namespaces.of_host(host) is None and own_port not in (None, port):
            raise InvalidTarget("this mirror is no forward proxy: ask it by its own name and port")

    def _find(self, path: bytes, query: bytes, host: str | None, listener: str | None) -> Route:
        before, rest = _split_version(split_path(path))
        asked = parse_query(query, _QUERY)
        said = Said(listener, host, before, asked.get("ns"))
        meant = self._namespaces.meant(said)
        if rest in ([], [""]):
            return BaseRoute(None if meant is None else meant.upstream.name)
        if rest[-1] == "_catalog" and len(rest) <= 2:
            return self._catalog(rest[:-1], asked, said, meant)
        if _is_upload(rest):
            raise WriteRefused("this mirror is read-only: push to the registry itself")
        if rest[-1] == "":
            raise InvalidTarget("the path ends with '/'")
        if len(rest) < 3:
            raise UnknownRoute("no such path in the registry API")
        return self._content(rest[-2], rest[-1], asked, partial(self._place, rest[:-2], said, meant))

    def _content(self, word: str, last: str, asked: dict[str, str], place: Callable[[], Place]) -> Route:
        """``word`` and ``last`` end the path; ``place`` is looked for only where they mean something."""
        if word == "manifests":
            return ManifestRoute(place(), parse_reference(last))
        if word == "blobs":
            return BlobRoute(place(), Digest.parse(last))
        if word == "tags" and last == "list":
            return TagsRoute(place(), _page_size(asked.get("n")), asked.get("last"))
        if word == "referrers":
            return ReferrersRoute(place(), Digest.parse(last))
        raise UnknownRoute("no such path in the registry API")

    def _place(self, name: list[str], said: Said, meant: Meant | None) -> Place:
        upstream, path = self._namespaces.split(meant, name)
        repository = Repository.parse(upstream.name, "/".join(path))
        private = self._private or upstream.guarded
        return Place(repository, "/".join(name), said.namespace, private, said.front)

    def _catalog(self, prefix: list[str], asked: dict[str, str], said: Said, meant: Meant | None) -> Route:
        first = prefix[0] if prefix else None
        upstream = self._namespaces.listed(meant, first)
        return CatalogRoute(
            None if upstream is None else upstream.name,
            first,
            said.namespace,
            _page_size(asked.get("n")),
            asked.get("last"),
            said.front,
        )


def _split_version(parts: list[str]) -> tuple[str | None, list[str]]:
    """What stands before ``v2``, and behind it; ``/v2/v2/...`` is a name that begins with it."""
    if parts[0] == "v2":
        return None, parts[1:]
    if parts[1:2] == ["v2"]:
        return parts[0], parts[2:]
    raise UnknownRoute("this is a registry mirror: its paths begin with /v2/")


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
