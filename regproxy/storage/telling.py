"""What comes to the disk and goes from it, told in the reactor's thread in the order it happened."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorFromThreads

from regproxy.interfaces import NOBODY, Held, IHoldings
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference


class Teller:
    """Told in the writer thread, tells ``watcher`` before the job's own result is handed over."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self.watcher: IHoldings = NOBODY

    def added(self, held: Held) -> None:
        """A record was written."""
        if self.watcher is not NOBODY:
            self._reactor.callFromThread(self._added, held)

    def gone(self, repository: Repository, reference: Reference) -> None:
        """Nothing is left of it."""
        if self.watcher is not NOBODY:
            self._reactor.callFromThread(self._gone, repository, reference)

    def found(self, held: Sequence[Held]) -> None:
        """A survey saw these; in the reactor's thread, right after the job that saw them."""
        self.watcher.found(held)

    def surveyed(self) -> None:
        """It has seen everything; in the reactor's thread."""
        self.watcher.surveyed()

    def _added(self, held: Held) -> None:
        self.watcher.added(held)

    def _gone(self, repository: Repository, reference: Reference) -> None:
        self.watcher.gone(repository, reference)
