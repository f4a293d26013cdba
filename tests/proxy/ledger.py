"""What upstreams have shown, noted where they answer: the truth that invariant 5 is held against."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from regproxy.errors import Denied, UpstreamUnreachable
from regproxy.interfaces import RemoteTag
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.testing.calls import Call
from regproxy.testing.remotes import MemoryRemote

T = TypeVar("T")


@attrs.frozen
class Shown:
    """A 2xx: of which moment the question was, and whether it was about the content or only named it."""

    asked: int
    held: bool


class Ledger:
    """All that upstreams said, in the order of one counter."""

    def __init__(self) -> None:
        self.moment = 0
        self._shown: dict[tuple[Repository, Digest], list[Shown]] = {}
        self._revoked: dict[Repository, list[int]] = {}

    def tick(self) -> int:
        """The next moment."""
        self.moment += 1
        return self.moment

    def show(self, repository: Repository, digest: Digest, asked: int, held: bool) -> None:
        """Its upstream answered 2xx; without ``held`` to a HEAD of a tag, which only names it."""
        self._shown.setdefault((repository, digest), []).append(Shown(asked, held))

    def revoke(self, repository: Repository) -> None:
        """Its upstream answered 401 or 403 to a tag, or has another credential."""
        self._revoked.setdefault(repository, []).append(self.tick())

    def allows(self, repository: Repository, digest: Digest, begun: int, bytes_too: bool) -> bool:
        """Whether it may be served now to a request of ``begun``.

        By an answer that was asked for after the last revocation that the request came after.
        """
        revoked = max((moment for moment in self._revoked.get(repository, ()) if moment <= begun), default=0)
        return any(
            shown.asked > revoked and (shown.held or not bytes_too)
            for shown in self._shown.get((repository, digest), ())
        )


class WitnessedRemote(MemoryRemote):
    """An upstream whose answers are noted; it may refuse, be away, and lie about tags."""

    def __init__(self, name: str, ledger: Ledger) -> None:
        super().__init__(name)
        self._ledger = ledger
        self.down = False
        self.denied: set[tuple[Repository, str]] = set()
        """Repositories, and what is answered by 403: ``tags``, ``blobs``, ``manifests``."""
        self.lies: dict[tuple[Repository, Tag], Descriptor] = {}
        """What a HEAD of a tag names, be it held or not."""

    def run(self, call: Call, work: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """As ever, and noted."""
        asked = self._ledger.tick()
        running: Deferred[T] = super().run(call, work)
        return running.addCallbacks(self._note, self._refuse, (call, asked), None, (call,))

    async def _enter(self, call: Call, work: Coroutine[Deferred[Any], Any, T]) -> Any:
        """Through the gates, then as the upstream is by then."""
        try:
            await self.script.enter(call)
            lie = self._contrary(call)
        except BaseException:
            work.close()
            raise
        if lie is None:
            return await work
        work.close()
        return lie

    def _contrary(self, call: Call) -> RemoteTag | None:
        if self.down:
            raise UpstreamUnreachable(self.name, "it is down")
        if (call.repository, call.operation.partition(".")[0]) in self.denied:
            raise Denied(self.name, "403")
        lie = self.lies.get((call.repository, call.reference)) if call.operation == "tags.stat" else None
        return None if lie is None else RemoteTag(lie, None)

    def _note(self, result: T, call: Call, asked: int) -> T:
        if isinstance(call.reference, Digest):
            self._ledger.show(call.repository, call.reference, asked, held=True)
        elif isinstance(result, RemoteTag):
            held = result.manifest is not None
            self._ledger.show(call.repository, result.descriptor.digest, asked, held)
        elif call.operation == "tags.stat":  # not changed: it still means what the tag points to
            unchanged = self.holding(call.repository).manifest(call.reference.name)
            self._ledger.show(call.repository, unchanged.digest, asked, held=False)
        return result

    def _refuse(self, failure: Failure, call: Call) -> Failure:
        if failure.check(Denied) and call.operation in ("tags.get", "tags.stat"):
            self._ledger.revoke(call.repository)
        return failure
