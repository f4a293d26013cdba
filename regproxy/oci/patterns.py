"""Globs over repository names: ``team-a/**``, ``library/*``.

``*`` stands for any signs of one component, ``?`` for one of them, ``**`` for any number of whole
components, none included. Matching never goes back further than the last star, so that no name of
a client's costs more than its length times the pattern's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import attrs

from regproxy.errors import InvalidName
from regproxy.oci.repository import MAX_NAME_LENGTH

_ANY = "**"
_COMPONENT = re.compile(r"[a-z0-9._*?-]+", re.ASCII)


@attrs.frozen(slots=True)
class RepositoryPattern:
    """A glob over the path of a repository within its upstream. Made by :meth:`parse`."""

    components: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> RepositoryPattern:
        """Check a glob; :exc:`InvalidName` for one that no repository can ever match."""
        components = tuple(text.split("/"))
        if len(text) > MAX_NAME_LENGTH or not all(map(_sound, components)):
            raise InvalidName("a pattern is a repository name with *, ? or whole components **")
        return cls(components)

    def matches(self, path: str) -> bool:
        """Whether the repository ``path``, as ``team-a/app``, is one of those."""
        return _follows(self.components, path.split("/"), _ANY, matches_glob)


def matches_glob(glob: str, text: str) -> bool:
    """Whether ``text`` is what ``glob`` writes with ``*`` and ``?``."""
    return _follows(glob, text, "*", _same_sign)


def _same_sign(wanted: str, sign: str) -> bool:
    return wanted in ("?", sign)


def _sound(component: str) -> bool:
    return component == _ANY or (_ANY not in component and _COMPONENT.fullmatch(component) is not None)


def _follows(
    pattern: Sequence[str], items: Sequence[str], many: str, same: Callable[[str, str], bool]
) -> bool:
    """Whether ``items`` follow ``pattern``, in which ``many`` stands for any number of them."""
    at = item = 0
    last_many, taken = -1, 0
    while item < len(items):
        if at < len(pattern) and pattern[at] == many:
            last_many, taken, at = at, item, at + 1
        elif at < len(pattern) and same(pattern[at], items[item]):
            at, item = at + 1, item + 1
        elif last_many >= 0:
            taken += 1
            at, item = last_many + 1, taken
        else:
            return False
    return all(rest == many for rest in pattern[at:])
