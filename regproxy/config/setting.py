"""What a setting is: the form of the declarations in ``config.declared``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

T_co = TypeVar("T_co", covariant=True)

PLACES = {
    "": "",
    "storage": "storage.",
    "tag": "tags[].",
    "access": "access.",
    "tokens": "access.tokens.",
    "survey": "survey.",
    "scrub": "scrub.",
    "fill": "fill.",
    "log": "log.",
    "limits": "limits.",
    "upstream": "upstreams.NAME.",
    "credentials": "upstreams.NAME.credentials.",
    "client_cert": "upstreams.NAME.client_cert.",
}
"""The sections of the file, and where each is written."""


@attrs.frozen(slots=True)
class Setting(Generic[T_co]):
    """A key with a value: ``parse`` reads its text, or each of its texts where ``many``.

    ``default`` is written as in the file, ``[]`` or texts apart by commas where ``many``; where
    it depends on the machine, ``computed`` says how. Neither: there is none.
    """

    section: str
    key: str
    parse: Callable[[str], T_co]
    doc: str
    default: str | None = None
    computed: str = ""
    example: str = ""
    many: bool = False

    @property
    def place(self) -> str:
        """Where it is written, as ``storage.root``."""
        return PLACES[self.section] + self.key

    @property
    def usual(self) -> T_co:
        """The value it has when the file does not say; only for one with a ``default``."""
        assert self.default is not None
        assert not self.many
        return self.parse(self.default)


@attrs.frozen(slots=True)
class Group:
    """A key that opens a section: a mapping, a list of mappings, or a mapping of names to them."""

    section: str
    key: str
    opens: str
    doc: str

    @property
    def place(self) -> str:
        """Where it is written."""
        return PLACES[self.section] + self.key
