"""The validators of blobs that are on their way, so that their rest is known to be of the same (R90)."""

from __future__ import annotations

from collections import OrderedDict

from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository

MAX_VALIDATORS = 1024
"""Beyond that the oldest are forgotten: then the hash alone tells."""


def agree(known: str | None, found: str | None) -> bool:
    """Whether two strong validators do not contradict each other; None: there is none."""
    return known is None or found in (None, known)


class Validators:
    """What each endpoint last called a blob. One endpoint's word says nothing about another's."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Repository, Digest], tuple[str | None, str]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Validators of {len(self._known)} blobs>"

    def note(
        self, repository: Repository, digest: Digest, endpoint: str | None, validator: str | None
    ) -> None:
        """``endpoint`` (None: the only one) has begun to send the blob, under this strong validator."""
        self._known.pop((repository, digest), None)
        if validator is not None:
            self._known[repository, digest] = endpoint, validator
        if len(self._known) > MAX_VALIDATORS:
            self._known.popitem(last=False)

    def of(self, repository: Repository, digest: Digest, endpoint: str | None) -> str | None:
        """What ``endpoint`` called it when it was begun; None: it did not, or that is forgotten."""
        found = self._known.get((repository, digest))
        return found[1] if found is not None and found[0] == endpoint else None
