"""Where content lives: an upstream registry and a repository name within it (R4)."""

from __future__ import annotations

import re

import attrs

from regproxy.errors import InvalidName

MAX_NAME_LENGTH = 255
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_UPSTREAM = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?(?::[0-9]{1,5})?", re.ASCII)


def is_upstream_name(text: str) -> bool:
    """Whether ``text`` can name an upstream: a lower-case host, with a port if it has one."""
    return len(text) <= MAX_NAME_LENGTH and ".." not in text and _UPSTREAM.fullmatch(text) is not None


def is_host_name(name: str) -> bool:
    """Whether a first component is a registry, not part of a repository's name: as Docker tells them."""
    return "." in name or ":" in name or name == "localhost"


@attrs.frozen(slots=True, order=True)
class Repository:
    """One repository of one upstream: ``docker.io`` and ``library/nginx``.

    Both parts are checked by :meth:`parse`, so they are safe as folder names and in URLs: no
    component is empty, begins with a dot or an underscore, or holds a slash.
    """

    upstream: str
    path: str

    @classmethod
    def parse(cls, upstream: str, path: str) -> Repository:
        """Check both names; :exc:`InvalidName` tells what a right one looks like (R4)."""
        if not is_upstream_name(upstream):
            raise InvalidName("an upstream is named by a lower-case host name, with a port if it has one")
        if len(upstream) + 1 + len(path) > MAX_NAME_LENGTH:
            raise InvalidName(f"a repository name has at most {MAX_NAME_LENGTH} characters, host included")
        if not all(_COMPONENT.fullmatch(part) for part in path.split("/")):
            raise InvalidName(
                "a repository name is lower-case letters and digits, separated by '.', '_', '__', '-' or '/'"
            )
        return cls(upstream, path)

    def __str__(self) -> str:
        return f"{self.upstream}/{self.path}"
