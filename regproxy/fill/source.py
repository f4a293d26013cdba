"""Where a fill's bytes come from: a repository, and how to begin reading from it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred

from regproxy.errors import UpstreamAnswered
from regproxy.interfaces import IBlob, ISpool
from regproxy.oci.repository import Repository


@attrs.define(eq=False)
class Source:
    """One repository that can give the blob.

    ``begin`` opens the blob and a spool for it; it fails with the answer's error, and has then
    left nothing behind. ``proven``: this repository's upstream has shown that it holds the blob,
    so the blob may be linked there once it is whole (invariant 5).
    """

    repository: Repository
    begin: Callable[[], Deferred[tuple[ISpool, IBlob]]]
    proven: bool = False
    local: bool = False
    """Whether the bytes are a file of ours that is read again, rather than an upstream's."""
    error: BaseException | None = None
    """Why it was given up; None while it is untried or in use."""

    def same_as(self, other: Source) -> bool:
        """Whether it would bring the same bytes from the same place."""
        return self.repository == other.repository and self.local == other.local

    @property
    def earns_link(self) -> bool:
        """Whether its repository may serve the blob: shown by its upstream, and not denied since."""
        return self.proven and not isinstance(self.error, UpstreamAnswered)
