"""Who asks: a name, how it was shown, and how far it reaches."""

from __future__ import annotations

import enum

import attrs

from regproxy.oci.patterns import matches_glob

MAX_NAME = 128
"""Signs of the longest name that is taken; who has a longer one is nobody here."""


class Proof(enum.Enum):
    """How a client showed who it is: the words of ``users`` in the settings."""

    PASSWORD = "password"
    TOKEN = "token"
    CERTIFICATE = "certificate"


@attrs.frozen(slots=True, cache_hash=True)
class Identity:
    """One client, as far as it is known. ``proof`` None: not at all.

    ``grants`` are the repositories that a token lets pull, as its issuer writes them; None: the
    identity itself sets no bounds. ``lists``: whether it may see names that it may not pull.
    """

    name: str = ""
    proof: Proof | None = None
    grants: frozenset[str] | None = None
    lists: bool = True

    @property
    def known(self) -> bool:
        """Whether this is somebody."""
        return self.proof is not None

    @property
    def shown(self) -> str | None:
        """For logs: the name, or how it was shown where the proof has none; None for nobody."""
        return None if self.proof is None else self.name or self.proof.value


ANONYMOUS = Identity()


@attrs.frozen(slots=True)
class NamePattern:
    """A glob over names, of one kind of proof only where it says so: ``certificate:node-*``."""

    glob: str
    proof: Proof | None = None

    @classmethod
    def parse(cls, text: str) -> NamePattern:
        """Any text is one; only the three words before a colon have a meaning."""
        word, colon, rest = text.partition(":")
        try:
            return cls(rest, Proof(word)) if colon else cls(text)
        except ValueError:
            return cls(text)

    def matches(self, identity: Identity) -> bool:
        """Whether ``identity`` is one of those; never true for an unknown one."""
        if identity.proof is None or self.proof not in (None, identity.proof):
            return False
        return matches_glob(self.glob, identity.name)
