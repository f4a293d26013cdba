"""Which upstream a request means, by whatever names one: pure, and a closed world (R97).

Five things may: the listener it came in by, its Host, a prefix before ``/v2/``, ``ns``, and the
first component of the name. All that say something must mean the same; none of them is dialled,
each is looked up in the settings. Nothing said: the default upstream.

A Host counts only where it is a name that ``hosts`` gives to an upstream, or the upstream's own
domain name: any other one is how the client happens to reach this mirror.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from regproxy.errors import InvalidName, InvalidTarget, UnknownUpstream
from regproxy.oci.repository import is_host_name
from regproxy.settings import UpstreamSettings

LISTENER = "the port that this came in by"
HOST = "the Host header"
BEFORE = "the path before /v2/"
NAMESPACE = "ns"
FIRST = "the first component of the name"


@attrs.frozen(slots=True)
class Said:
    """What a request says besides the name; None: nothing. ``listener`` is an upstream's name."""

    listener: str | None = None
    host: str | None = None
    before: str | None = None
    namespace: str | None = None

    @property
    def front(self) -> str:
        """What stands before ``/v2/`` in the path, as ``/docker.io``."""
        return "" if self.before is None else f"/{self.before}"


@attrs.frozen(slots=True)
class Meant:
    """The upstream that a request means, and ``by`` what (one of the phrases above)."""

    upstream: UpstreamSettings
    by: str


class Namespaces:
    """The names of one set of upstreams; built once, never changed."""

    def __init__(self, upstreams: Iterable[UpstreamSettings]) -> None:
        self.upstreams = found = tuple(upstreams)
        self._by_name = _by_name(found)
        self._by_host, self._by_any_port = _by_host(found)
        self._default = next((each for each in found if each.default), None)

    def meant(self, said: Said) -> Meant | None:
        """The upstream that all of ``said`` mean; None: nothing names one.

        :exc:`InvalidTarget` where they mean different ones, :exc:`UnknownUpstream` where one of
        them names none of ours.
        """
        found: Meant | None = None
        for by, upstream in self._each(said):
            if upstream is None:
                continue
            if found is not None and upstream is not found.upstream:
                raise _disagree(found.by, by)
            found = Meant(upstream, by)
        return found

    def split(self, meant: Meant | None, name: list[str]) -> tuple[UpstreamSettings, list[str]]:
        """The upstream, and its own name of the repository: without a prefix, with ``library/``.

        Raises as :meth:`meant`, and :exc:`InvalidName`.
        """
        prefixed = self._prefix(name)
        if prefixed is None:
            return self.whole(self._fallback() if meant is None else meant.upstream, name)
        if meant is not None and meant.upstream is not prefixed:
            raise _disagree(meant.by, FIRST)
        if len(name) == 1:
            raise InvalidName("the name of an upstream must be followed by a repository name")
        return self.whole(prefixed, name[1:])

    def of_host(self, host: str) -> UpstreamSettings | None:
        """The upstream that a Host (lower case) means; None: it is only a way to this mirror."""
        found = self._by_host.get(host)
        return self._by_any_port.get(_without_port(host)) if found is None else found

    def listed(self, meant: Meant | None, first: str | None) -> UpstreamSettings | None:
        """The upstream whose repositories are asked for; ``first`` stands before ``_catalog``. None:
        there is no default one. Raises as :meth:`meant`."""
        if first is None:
            return self._default if meant is None else meant.upstream
        upstream = self.registry(first)
        if upstream is None or not upstream.prefix:
            raise UnknownUpstream("the path begins with what is not among this mirror's upstreams")
        if meant is not None and meant.upstream is not upstream:
            raise _disagree(meant.by, FIRST)
        return upstream

    def _each(self, said: Said) -> Iterator[tuple[str, UpstreamSettings | None]]:
        if said.listener is not None:
            yield LISTENER, self._by_name[said.listener]
        if said.host is not None:
            yield HOST, self.of_host(said.host)
        if said.before is not None:
            yield BEFORE, self._front(said.before)
        if said.namespace is not None:
            yield NAMESPACE, self._registry(said.namespace)

    def _front(self, before: str) -> UpstreamSettings:
        upstream = self.registry(before)
        if upstream is None or not upstream.prefix:
            raise UnknownUpstream("the path before /v2/ names none of this mirror's upstreams")
        return upstream

    def _registry(self, namespace: str) -> UpstreamSettings:
        upstream = self.registry(namespace)
        if upstream is None:
            raise UnknownUpstream("ns names a registry that is not among this mirror's upstreams")
        return upstream

    def _prefix(self, name: list[str]) -> UpstreamSettings | None:
        """The upstream that the first component stands for.

        A name that is no host name is one only in front of others: alone it is a repository.
        """
        upstream = self.registry(name[0])
        if upstream is None or not upstream.prefix:
            return None
        return upstream if len(name) > 1 or is_host_name(upstream.name) else None

    def registry(self, name: str) -> UpstreamSettings | None:
        """The upstream of this name; signs that only become ASCII by ``lower()`` name none."""
        return self._by_name.get(name.lower()) if name.isascii() else None

    def whole(self, upstream: UpstreamSettings, name: list[str]) -> tuple[UpstreamSettings, list[str]]:
        """``name`` as ``upstream`` has it. No name on Docker Hub begins with a host: such a one is meant for
        another registry, and is not told to the Hub (:exc:`UnknownUpstream`)."""
        if not upstream.library:
            return upstream, name
        if len(name) > 1 and is_host_name(name[0]):
            raise UnknownUpstream("the name begins with a registry that is not among this mirror's upstreams")
        return upstream, ["library", *name] if len(name) == 1 else name

    def _fallback(self) -> UpstreamSettings:
        if self._default is None:
            raise UnknownUpstream(
                "this mirror has no default upstream: put its name before the repository, or ?ns= behind"
            )
        return self._default


def _disagree(one: str, other: str) -> InvalidTarget:
    return InvalidTarget(f"{one} and {other} mean different upstreams: name one, or the same one each time")


def _by_name(upstreams: tuple[UpstreamSettings, ...]) -> dict[str, UpstreamSettings]:
    found: dict[str, UpstreamSettings] = {}
    for upstream in upstreams:
        for name in (upstream.name, *upstream.aliases):
            found.setdefault(name.lower(), upstream)
    for upstream in upstreams:
        for name in (upstream.name, *upstream.aliases):
            for spelling in _with_default_ports(name.lower()):
                found.setdefault(spelling, upstream)
    return found


def _by_host(
    upstreams: tuple[UpstreamSettings, ...],
) -> tuple[dict[str, UpstreamSettings], dict[str, UpstreamSettings]]:
    """Upstreams by the whole Host, and by its name at whatever port."""
    exact: dict[str, UpstreamSettings] = {}
    at_any_port: dict[str, UpstreamSettings] = {}
    for upstream in upstreams:
        for host in upstream.hosts:
            (at_any_port if _without_port(host) == host else exact).setdefault(host, upstream)
            if host.endswith((":80", ":443")):
                exact.setdefault(_without_port(host), upstream)
    for upstream in upstreams:
        for name in filter(_is_domain, (upstream.name, *upstream.aliases)):
            for spelling in (name.lower(), *_with_default_ports(name.lower())):
                exact.setdefault(spelling, upstream)
    return exact, at_any_port


def _with_default_ports(name: str) -> Iterator[str]:
    """The other spellings of a name: without a default port, or with either (R97).

    Either, because clients put the port of the scheme that they think of, not of our endpoint's.
    """
    bare = name.removesuffix(":80").removesuffix(":443")
    if ":" not in bare:
        yield from (bare, f"{bare}:80", f"{bare}:443")


def _is_domain(name: str) -> bool:
    """Whether a Host of this name can only mean the upstream: not ``localhost``, nor an address."""
    last = _without_port(name).rpartition(".")
    return bool(last[0]) and not last[2].isdigit()


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
