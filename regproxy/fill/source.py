"""Where a fill's bytes come from: repositories, how to begin reading from each, and their rights."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

import attrs
from twisted.internet.defer import Deferred

from regproxy.errors import ContentMismatch, StorageFailed, UpstreamAnswered
from regproxy.interfaces import IBlob, IBody, ISpool
from regproxy.oci.repository import Repository


@attrs.define(eq=False)
class Source:
    """One repository that can give the blob.

    ``begin`` opens the blob and a spool for it, or tells why the disk takes none; it fails with the
    answer's error, and has then left nothing behind.
    """

    repository: Repository
    begin: Callable[[], Deferred[tuple[ISpool | StorageFailed, IBlob]]]
    asked_s: float
    """The store's stamp from before begin(): what its 2xx shows is a proof of that moment."""
    proven_s: float | None = None
    """The stamp of an earlier proof, by a link or a HEAD; None: there is none."""
    local: bool = False
    """Whether the bytes are a file of ours that is read again, rather than an upstream's."""
    resume: Callable[[int, int | None], Deferred[IBody]] | None = None
    """Reads on from an offset of a blob of that size, without the disk; None: it cannot."""
    plain: bool = False
    """Whether its bytes are to come over one connection, since those of several were wrong."""
    shown: bool = False
    """Whether begin() has succeeded."""
    taken_back: BaseException | None = None
    """What its upstream answered to a piece, while it went on with the rest: there is no such thing
    there, or no right to it. What it sends is used; its repository has no right by it."""
    error: BaseException | None = None
    """Why it was given up; None while it is untried or in use."""

    def same_as(self, other: Source) -> bool:
        """Whether it would bring the same bytes from the same place."""
        return self.repository == other.repository and self.local == other.local

    @property
    def refused(self) -> bool:
        """Whether its upstream answered that the repository has no such thing, or no right to it."""
        return self.taken_back is not None or isinstance(self.error, UpstreamAnswered)

    @property
    def since_s(self) -> float | None:
        """The moment of its best proof; None: its repository has no right (invariant 5).

        Bytes that turned out wrong prove nothing; neither does a file of ours.
        """
        if self.refused:
            return None
        if self.shown and not self.local and not isinstance(self.error, ContentMismatch):
            return max(self.asked_s, self.proven_s or 0.0)
        return self.proven_s


class Sources:
    """The sources of one fill, in the order in which they are tried, each once.

    ``revoked_s`` tells when a repository was last revoked: proofs up to then are void. ``is_slow``: an
    upstream was found slow, and is asked after the others.
    """

    def __init__(
        self,
        revoked_s: Callable[[Repository], float],
        is_slow: Callable[[str], bool] = lambda upstream: False,
    ) -> None:
        self._revoked_s = revoked_s
        self._is_slow = is_slow
        self._sources: list[Source] = []

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[Source]:
        return iter(self._sources)

    def add(self, source: Source) -> None:
        """Take it in; one that is there already learns of its proof."""
        for known in self._sources:
            if known.same_as(source) and not known.refused:
                proofs = [at for at in (known.proven_s, source.proven_s) if at is not None]
                known.proven_s = max(proofs, default=None)
                return
        self._sources.append(source)

    def next(self) -> Source:
        """The next to try; raises why the last one was given up when there is none."""
        found = self.untried(())
        if found is not None:
            return found
        error = self._sources[-1].error
        assert error is not None, "a source is passed over only with its error"
        raise error

    def untried(self, but: Container[Source]) -> Source | None:
        """The next to try that is not one of these; those that were found slow come last. None: there is
        none."""
        left = [source for source in self._sources if source.error is None and source not in but]
        return next((source for source in left if not self._lags(source)), left[0] if left else None)

    def resumable(self, preferred: Source | None) -> Source | None:
        """One that can be read on from an offset, ``preferred`` if it can; None: there is none."""
        untried = (source for source in self._sources if source.error is None)
        able = (one for one in (preferred, *untried) if one is not None and one.resume is not None)
        return next(able, None)

    def faster(self, than: Source) -> Source | None:
        """One that can be read on from, over another line, which was not found slow; None: there is none."""
        untried = (one for one in self._sources if one.error is None and one.resume is not None)
        others = (one for one in untried if one.repository.upstream != than.repository.upstream)
        return next((one for one in others if not self._lags(one)), None)

    def _lags(self, source: Source) -> bool:
        return not source.local and self._is_slow(source.repository.upstream)

    def admits(self, repository: Repository) -> bool:
        """Whether a reader of ``repository`` may join without a proof of its own."""
        return any(
            source.repository == repository
            and source.error is None
            and source.taken_back is None
            and self._holds(source)
            for source in self._sources
        )

    def _holds(self, source: Source) -> bool:
        since_s = source.asked_s if source.since_s is None else source.since_s
        return since_s > self._revoked_s(source.repository)

    def proofs(self) -> dict[Repository, float]:
        """Who is to be linked to the blob, and by a proof of which moment."""
        found: dict[Repository, float] = {}
        for source in self._sources:
            if source.since_s is not None:
                found[source.repository] = max(source.since_s, found.get(source.repository, 0.0))
        return found

    def error_of(self, repository: Repository) -> BaseException | None:
        """Why the repository's own sources were given up; None when they were not."""
        errors = [source.error for source in self._sources if source.repository == repository]
        return errors[-1] if errors else None
