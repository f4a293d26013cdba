"""What a fill begins with: a new spool, what an earlier fill has left, or a file that is not trusted.

Laws: each is made in the writer thread, for callers that may leave before it is there; what nobody
waits for any more is undone, and the store closes after that.
"""

from __future__ import annotations

import contextlib
import secrets

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from regproxy.errors import StorageFailed
from regproxy.interfaces import IBlob, ISpool, Leftover
from regproxy.oci.digest import Digest
from regproxy.storage.adopted import AdoptedSpool
from regproxy.storage.bodies import FileBlob
from regproxy.storage.spool import Spool
from regproxy.storage.thread import Makings
from regproxy.storage.workshop import Workshop


class Spooling:
    """Makes spools that work with what is in ``shop``."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._makings = Makings()

    def new(self, digest: Digest) -> Deferred[ISpool]:
        """As :meth:`ILocalStore.spool`. Cancelled, it is removed again."""
        name = f"{digest.algorithm}-{digest.hex[:32]}-{secrets.token_hex(8)}"
        made: Deferred[ISpool] = self._shop.writer.run(self._new, digest, name)
        return self._makings.add(made, lambda spool: spool.discard())

    def _new(self, digest: Digest, name: str) -> ISpool:
        with contextlib.suppress(OSError):  # a survey tries again
            self._shop.leftovers.sweep_overdue()
        return Spool.create(self._shop, digest, name)

    def left(self, digest: Digest) -> Leftover | None:
        """As :meth:`ILocalStore.left`."""
        return self._shop.leftovers.look(digest)

    def take(self, digest: Digest) -> Deferred[ISpool | None]:
        """As :meth:`ILocalStore.take`. Cancelled, it is left again."""
        made: Deferred[ISpool | None] = self._shop.writer.run(self._take, digest)
        return self._makings.add(made, lambda spool: succeed(None) if spool is None else spool.keep())

    def _take(self, digest: Digest) -> ISpool | None:
        return Spool.take(self._shop, digest)

    def adopt(self, digest: Digest) -> Deferred[tuple[ISpool, IBlob]]:
        """As :meth:`ILocalStore.adopt`. Cancelled, the file stays as it was."""
        made = self._shop.writer.run(AdoptedSpool.create, self._shop, digest)
        return self._makings.add(made.addCallback(self._with_bytes), _let_go)

    def _with_bytes(self, spool: AdoptedSpool) -> tuple[ISpool, IBlob]:
        try:
            file = self._shop.files.duplicate(spool.descriptor)
        except BaseException:
            spool.discard().addErrback(_left_as_it_is)
            raise
        return spool, FileBlob(file, spool.size_bytes)

    def settled(self) -> Deferred[None]:
        """Fires when nothing is being made or undone."""
        return self._makings.settled()


def _left_as_it_is(failure: Failure) -> None:
    failure.trap(StorageFailed)


def _let_go(adopted: tuple[ISpool, IBlob]) -> Deferred[None]:
    spool, blob = adopted
    blob.close()
    return spool.discard()
