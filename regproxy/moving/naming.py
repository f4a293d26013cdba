"""What names mean that come with content from elsewhere: which upstream's, which repository. Pure.

A closed world, as for clients: what would lie under an upstream that the settings do not name could never
be pulled. ``--as`` says what the source does not: an upstream, or with it a repository, and a tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import attrs

from regproxy.errors import InvalidName, RegproxyError, UnknownUpstream
from regproxy.namespaces import Namespaces
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository, is_host_name
from regproxy.oci.tag import Reference, Tag, is_tag
from regproxy.settings import UpstreamSettings

MAX_NAME_LENGTH = 512
SAY_AS = "say --as UPSTREAM/REPOSITORY:TAG"
NamedImage: TypeAlias = tuple[str | None, Digest]
"""As the index of a layout lists it."""


@attrs.frozen(slots=True)
class _Target:
    upstream: UpstreamSettings
    path: str = ""
    tag: Tag | None = None


class Naming:
    """By ``upstreams`` and the text of ``--as``, if there is one.

    :exc:`InvalidName`, :exc:`InvalidTag`, :exc:`UnknownUpstream` for one that cannot be meant.
    """

    def __init__(self, upstreams: Iterable[UpstreamSettings], said: str | None) -> None:
        self._upstreams = tuple(upstreams)
        self._namespaces = Namespaces(self._upstreams)
        self._target = None if said is None else self._parse(said)

    def _parse(self, said: str) -> _Target:
        name, tag = _without_tag(said) if "/" in said else (said, None)
        first, _, path = name.partition("/")
        upstream = self._namespaces.registry(first)
        if upstream is None:
            raise UnknownUpstream("--as names a registry that is not among the upstreams of the settings")
        if not path:
            return _Target(upstream)
        path = self._under(upstream, path).path
        return _Target(upstream, path, None if tag is None else Tag.parse(tag))

    def _under(self, upstream: UpstreamSettings, path: str) -> Repository:
        upstream, parts = self._namespaces.whole(upstream, path.split("/"))
        return Repository.parse(upstream.name, "/".join(parts))

    def check_many(self) -> None:
        """InvalidName unless it says whose the repositories of a whole store are, and no more."""
        self._upstream()

    def of_path(self, path: str) -> Repository:
        """A repository of a store that holds those of one registry, under ``--as UPSTREAM``."""
        return self._under(self._upstream(), path)

    def _upstream(self) -> UpstreamSettings:
        if self._target is None or self._target.path:
            raise InvalidName("a store has many repositories, and does not say whose: say --as UPSTREAM")
        return self._target.upstream

    def of_image(self, name: str | None) -> tuple[Repository, Reference | None]:
        """An image of a layout, by the name that its index gives it, or none."""
        target = self._target
        if name is None:
            if target is None or not target.path:
                raise InvalidName(f"it has no name: {SAY_AS}")
            return Repository(target.upstream.name, target.path), target.tag
        if len(name) > MAX_NAME_LENGTH or not name.isascii():
            raise InvalidName("its name is none of an image")
        if is_tag(name):  # as skopeo writes it: the tag alone
            if target is None or not target.path:
                raise InvalidName(f"only its tag is known: {SAY_AS.removesuffix(':TAG')}")
            return Repository(target.upstream.name, target.path), target.tag or Tag.parse(name)
        whole, at, digest = name.partition("@")
        path, tag = _without_tag(whole)
        reference = Digest.parse(digest) if at else None if tag is None else Tag.parse(tag)
        if target is not None and target.path:
            return Repository(target.upstream.name, target.path), target.tag or reference
        return self._registry(path), reference

    def check_apart(self, images: Sequence[NamedImage]) -> None:
        """InvalidName where ``--as`` gives several images one tag: all but one would be lost for it."""
        target = self._target
        shared = self._shared(images) if target is not None and target.path else {}
        if target is None or not shared:
            return
        (repository, tag), count = max(shared.items(), key=lambda item: item[1])
        raise InvalidName(
            f"--as gives {count} images the one tag {repository}:{tag}: {self._instead(target, images)}"
        )

    def _shared(self, images: Sequence[NamedImage]) -> dict[tuple[Repository, Tag], int]:
        """The tags that more than one image would get, and how many would."""
        meant: dict[tuple[Repository, Tag], set[Digest]] = {}
        for name, digest in images:
            try:
                repository, reference = self.of_image(name)
            except RegproxyError:
                continue
            if isinstance(reference, Tag):
                meant.setdefault((repository, reference), set()).add(digest)
        return {name: len(digests) for name, digests in meant.items() if len(digests) > 1}

    def _instead(self, target: _Target, images: Sequence[NamedImage]) -> str:
        """The ``--as`` that says least and keeps all of them apart."""
        upstream = target.upstream.name
        for said in (None, upstream, f"{upstream}/{target.path}"):
            if Naming(self._upstreams, said)._tells_apart(images):
                return "leave --as away" if said is None else f"say --as {said}"
        return "take them in one by one, from a layout for each"

    def _tells_apart(self, images: Sequence[NamedImage]) -> bool:
        try:
            tagged = [isinstance(self.of_image(name)[1], Tag) for name, _ in images]
        except RegproxyError:
            return False
        return all(tagged) and not self._shared(images)

    def _registry(self, path: str) -> Repository:
        first, slash, rest = path.partition("/")
        if slash and is_host_name(first):
            upstream = self._namespaces.registry(first)
            if upstream is None:
                raise UnknownUpstream("its registry is not among the upstreams of the settings")
            if self._target is not None and self._target.upstream is not upstream:
                raise InvalidName("it is of another registry than --as says: leave that away")
            return self._under(upstream, rest)
        if self._target is None:
            raise InvalidName("its name has no registry: say --as UPSTREAM")
        return self._under(self._target.upstream, path)


def _without_tag(name: str) -> tuple[str, str | None]:
    """A colon behind the last slash begins a tag; one before it a port."""
    before, colon, tag = name.rpartition(":")
    return (before, tag) if colon and "/" not in tag else (name, None)
