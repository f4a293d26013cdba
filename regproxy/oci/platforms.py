"""Platforms: ``linux/arm64/v8``, and which children of an index are for which. Pure."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence

import attrs

from regproxy.errors import InvalidManifest, InvalidRequest
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Manifest, children_of

ALL = "all"
_WORD = re.compile(r"[a-z0-9_.]{1,64}(?:/[a-z0-9_.]{1,64}){1,2}", re.ASCII)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "i686": "386"}


@attrs.frozen(slots=True)
class Platform:
    """``variant`` empty: any."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``OS/ARCHITECTURE[/VARIANT]``; :exc:`InvalidRequest`."""
        if _WORD.fullmatch(text) is None:
            raise InvalidRequest("a platform is written linux/amd64, or linux/arm64/v8, or all")
        return cls(*text.split("/"))

    @classmethod
    def here(cls) -> Platform:
        """That of this machine."""
        machine = platform.machine().lower()
        return cls("linux", *_MACHINES.get(machine, machine or "amd64").split("/"))

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def covers(self, other: Platform) -> bool:
        """Whether an image for ``other`` is one for this."""
        same = (self.os, self.architecture) == (other.os, other.architecture)
        return same and self.variant in ("", other.variant)


@attrs.frozen(slots=True)
class Child:
    """One manifest of an index; ``platform`` None: it does not say, or is no image (an attestation)."""

    digest: Digest
    platform: Platform | None


def children(index: Manifest) -> list[Child]:
    """What an index lists, in its order; nothing of what cannot be read."""
    try:
        listed = children_of(index)
    except InvalidManifest:
        return []
    return [Child(digest, _platform(words)) for digest, words in listed]


def _platform(words: Sequence[object]) -> Platform | None:
    texts = [word if isinstance(word, str) else "" for word in words]
    found = Platform(*texts)
    is_one = _WORD.fullmatch(str(found)) is not None and "unknown" not in texts and all(texts[:2])
    return found if is_one else None


def chosen(listed: Sequence[Child], wanted: Sequence[Platform] | None) -> list[Digest]:
    """The children for the ``wanted`` platforms, None: all; of an index without any platform, the first."""
    if wanted is None:
        return list(dict.fromkeys(child.digest for child in listed))
    found = [
        child.digest
        for child in listed
        if child.platform is not None and any(one.covers(child.platform) for one in wanted)
    ]
    if not found and listed and all(child.platform is None for child in listed):
        found = [listed[0].digest]
    return list(dict.fromkeys(found))
