"""Tags, and references: a tag or a digest (R5)."""

from __future__ import annotations

import re
from typing import TypeAlias

import attrs

from regproxy.errors import InvalidTag
from regproxy.oci.digest import Digest

_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)


def is_tag(text: str) -> bool:
    """Whether :meth:`Tag.parse` would read ``text``: one match, for long lists (R5)."""
    return _TAG.fullmatch(text) is not None


@attrs.frozen(slots=True, order=True)
class Tag:
    """A tag of a repository: safe as a file name, since it holds no slash and begins with no dot."""

    name: str

    @classmethod
    def parse(cls, text: str) -> Tag:
        """Read a tag; :exc:`InvalidTag` tells what a right one looks like (R5)."""
        if not is_tag(text):
            raise InvalidTag(
                "a tag is a letter, digit or '_', then at most 127 letters, digits, '.', '_' or '-'"
            )
        return cls(text)

    def __str__(self) -> str:
        return self.name


Reference: TypeAlias = Tag | Digest


def parse_reference(text: str) -> Reference:
    """A digest when there is a colon, else a tag; raises as these two do (R5, R6)."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)
