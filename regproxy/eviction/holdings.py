"""All that is cached, at one moment, as far as it counts for what goes and what stays. Pure.

A key is what people write: ``docker.io/library/nginx@sha256:…``; of these everything is made, since
text is small and soon compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from regproxy.interfaces import IdleSpool


@attrs.frozen(slots=True)
class Thing:
    """What a repository holds under a digest: a blob, or a ``manifest``. Times are seconds."""

    repository: str
    digest: str
    manifest: bool
    used_s: float
    pulls: int
    disk_bytes: int
    sent_bytes: int = 0

    @property
    def key(self) -> str:
        """Its key."""
        return f"{self.repository}@{self.digest}"


@attrs.frozen(slots=True)
class Tagged:
    """A tag, and what it means; None where nothing does."""

    repository: str
    tag: str
    digest: str | None
    used_s: float
    pulls: int
    sent_bytes: int = 0

    @property
    def key(self) -> str:
        """Its key."""
        return f"{self.repository}:{self.tag}"


@attrs.frozen
class Holdings:
    """``names``: by digest, what each manifest names. ``gone``: how often what was evicted before had
    been asked for, by key."""

    now_s: float
    things: Sequence[Thing] = ()
    tags: Sequence[Tagged] = ()
    names: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    spools: Sequence[IdleSpool] = ()
    gone: Mapping[str, int] = attrs.field(factory=dict)


class Repository:
    """What one repository holds, and what of it names what."""

    def __init__(self, names: Mapping[str, tuple[str, ...]]) -> None:
        self.things: dict[str, Thing] = {}
        self.tags: dict[str, list[Tagged]] = {}
        self.dangling: list[Tagged] = []
        """Tags whose manifest is not here."""
        self._names = names

    def below(self, digest: str) -> Iterable[str]:
        """What a manifest names of what is here."""
        thing = self.things.get(digest)
        if thing is None or not thing.manifest:
            return ()
        return (named for named in self._names.get(digest, ()) if named in self.things and named != digest)

    def readable(self, digest: str) -> bool:
        """Whether it is known what ``digest`` names: all but a manifest whose bytes cannot be read."""
        return not self.things[digest].manifest or bool(self._names.get(digest))

    def closure(self, roots: Iterable[str]) -> list[str]:
        """All that ``roots`` need, themselves first, whatever names what in a circle."""
        found = list(dict.fromkeys(root for root in roots if root in self.things))
        seen = set(found)
        for digest in found:
            for named in self.below(digest):
                if named not in seen:
                    seen.add(named)
                    found.append(named)
        return found


def by_repository(held: Holdings) -> dict[str, Repository]:
    """The same, each repository by itself."""
    found: dict[str, Repository] = {}
    for thing in held.things:
        if thing.repository not in found:
            found[thing.repository] = Repository(held.names)
        found[thing.repository].things[thing.digest] = thing
    for tag in held.tags:
        if tag.repository not in found:
            found[tag.repository] = Repository(held.names)
        here = found[tag.repository]
        if tag.digest is None or tag.digest not in here.things:
            here.dangling.append(tag)
        else:
            here.tags.setdefault(tag.digest, []).append(tag)
    return found
