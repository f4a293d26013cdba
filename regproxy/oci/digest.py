"""Digests: ``algorithm:hex``, the only two algorithms the mirror stores (R6).

A :class:`Digest` that exists is safe in a path and in a URL; nothing else is.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import attrs

from regproxy.errors import InvalidDigest

if TYPE_CHECKING:
    from hashlib import _Hash

HEX_LENGTH = {"sha256": 64, "sha512": 128}
_SHAPE = re.compile(r"(sha256|sha512):([0-9a-f]{64}|[0-9a-f]{128})", re.ASCII)


@attrs.frozen(slots=True, order=True)
class Digest:
    """The name of some bytes: ``algorithm`` is sha256 or sha512, ``hex`` lower case."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``sha256:<64 hex>`` or ``sha512:<128 hex>``; :exc:`InvalidDigest` otherwise (R6)."""
        match = _SHAPE.fullmatch(text)
        if match is None or len(match[2]) != HEX_LENGTH[match[1]]:
            raise InvalidDigest(
                "a digest is 'sha256:' with 64 lower-case hexadecimal digits, or 'sha512:' with 128"
            )
        return cls(match[1], match[2])

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of ``content`` under ``algorithm``."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def hasher(self) -> _Hash:
        """A fresh running hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, content: bytes) -> bool:
        """Whether ``content`` is what this digest names (R13)."""
        return hashlib.new(self.algorithm, content).hexdigest() == self.hex

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
