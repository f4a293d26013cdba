"""What upstreams do not have, remembered for a short while: who asks again is told at once (R55).

Laws: only a 404 or 410 is remembered, of one repository with one login; never 401, 403, 429 or 5xx. It is
forgotten after a time by what it names, by any answer that it is there, and by a purge. What is remembered
is bounded, those that nobody asked for go first.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from zope.interface import implementer

from regproxy.errors import NotFound
from regproxy.interfaces import (
    IBlob,
    IBody,
    IManifestSource,
    IRangedBlob,
    IRemoteBlobs,
    IRemoteRegistry,
    IRemoteTags,
    RemoteTag,
)
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference, Tag

MAX_REMEMBERED = 10_000

T = TypeVar("T")


class Missing(enum.Enum):
    """What was not there."""

    TAG = "a tag"
    TAGS = "a repository"
    MANIFEST = "a manifest by digest"
    BLOB = "a blob"


KEPT_S = {
    Missing.TAG: 15.0,  # somebody may be about to push it
    Missing.TAGS: 15.0,
    Missing.MANIFEST: 60.0,
    Missing.BLOB: 10.0,  # a manifest that was just served names it: its registry is behind with itself
}
"""For how many seconds that is believed."""

Key: TypeAlias = tuple[Repository, Missing, Reference | None]


class Negatives:
    """The memory, of all upstreams. ``login`` is whom it was told: nobody else is told it from here."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._known: OrderedDict[Key, tuple[NotFound, float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"<Negatives {len(self)}>"

    def find(self, key: Key, login: int = 0) -> NotFound | None:
        """What was said of it, not long ago; an error of its own for each who asks."""
        known = self._known.get(key)
        if known is None:
            return None
        error, since_s, told = known
        if told != login or not 0.0 <= self._clock.seconds() - since_s < KEPT_S[key[1]]:
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return _anew(error)

    def note(self, key: Key, error: NotFound, login: int = 0) -> None:
        """It was asked for, and is not there."""
        self._known[key] = _anew(error), self._clock.seconds(), login
        self._known.move_to_end(key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def there(self, key: Key) -> None:
        """It is there."""
        self._known.pop(key, None)

    def forget(self, repository: Repository, reference: Reference | None = None) -> None:
        """Ask again, whoever asks for it: a client that must know, a purge. None: all of the repository."""
        if reference is not None:
            for what in Missing:
                self.there((repository, what, reference))
            return
        for key in [key for key in self._known if key[0] == repository]:
            del self._known[key]


def _anew(error: NotFound) -> NotFound:
    """The same, without the traceback and the notes of whom it was raised for."""
    again = NotFound.__new__(NotFound, *error.args)
    again.args = error.args
    again.__dict__.update({name: value for name, value in vars(error).items() if name != "__notes__"})
    return again


class _Asking:
    """Asks one upstream, unless the answer is remembered. ``who`` tells one login from another."""

    def __init__(self, negatives: Negatives, who: Callable[[], int]) -> None:
        self._negatives = negatives
        self._who = who

    def ask(
        self,
        repository: Repository,
        what: Missing,
        reference: Reference | None,
        ask: Callable[[], Deferred[T]],
    ) -> Deferred[T]:
        """What ``ask`` brings, or the NotFound that it brought not long ago."""
        key, login = (repository, what, reference), self._who()
        known = self._negatives.find(key, login)
        if known is not None:
            return fail(known)

        def there(result: T) -> T:
            self._negatives.there(key)
            return result

        def note(failure: Failure) -> Failure:
            if isinstance(failure.value, NotFound):
                self._negatives.note(key, failure.value, login)
            return failure

        return ask().addCallbacks(there, note)


_Remote: Any = proxyForInterface(IRemoteRegistry, "_remote")


@implementer(IRemoteRegistry)
class RememberingRemote(_Remote):  # type: ignore[misc]
    """An upstream whose 404s are remembered; all else as it is."""

    def __init__(
        self, remote: IRemoteRegistry, negatives: Negatives, who: Callable[[], int] = lambda: 0
    ) -> None:
        super().__init__(remote)
        asking = _Asking(negatives, who)
        self._parts = _Blobs(remote, asking), _Manifests(remote, asking), _Tags(remote, asking)

    @property
    def blobs(self) -> IRemoteBlobs:
        """As :attr:`IRemoteRegistry.blobs`."""
        return self._parts[0]

    @property
    def manifests(self) -> IManifestSource:
        """As :attr:`IRemoteRegistry.manifests`."""
        return self._parts[1]

    @property
    def tags(self) -> IRemoteTags:
        """As :attr:`IRemoteRegistry.tags`."""
        return self._parts[2]


@implementer(IRemoteBlobs)
class _Blobs:
    def __init__(self, remote: IRemoteRegistry, asking: _Asking) -> None:
        self._blobs = remote.blobs
        self._ask = asking.ask

    def stat(self, repository: Repository, digest: Digest) -> Deferred[int | None]:
        return self._ask(repository, Missing.BLOB, digest, lambda: self._blobs.stat(repository, digest))

    def open(self, repository: Repository, digest: Digest) -> Deferred[IBlob]:
        return self._ask(repository, Missing.BLOB, digest, lambda: self._blobs.open(repository, digest))

    def open_from(
        self, repository: Repository, digest: Digest, start: int, validator: str | None
    ) -> Deferred[IRangedBlob]:
        def ask() -> Deferred[IRangedBlob]:
            return self._blobs.open_from(repository, digest, start, validator)

        return self._ask(repository, Missing.BLOB, digest, ask)

    def resume(self, repository: Repository, digest: Digest, start: int, size: int | None) -> Deferred[IBody]:
        return self._ask(
            repository, Missing.BLOB, digest, lambda: self._blobs.resume(repository, digest, start, size)
        )


@implementer(IManifestSource)
class _Manifests:
    def __init__(self, remote: IRemoteRegistry, asking: _Asking) -> None:
        self._manifests = remote.manifests
        self._ask = asking.ask

    def stat(self, repository: Repository, digest: Digest) -> Deferred[Descriptor]:
        return self._ask(
            repository, Missing.MANIFEST, digest, lambda: self._manifests.stat(repository, digest)
        )

    def get(self, repository: Repository, digest: Digest) -> Deferred[Manifest]:
        return self._ask(
            repository, Missing.MANIFEST, digest, lambda: self._manifests.get(repository, digest)
        )


@implementer(IRemoteTags)
class _Tags:
    def __init__(self, remote: IRemoteRegistry, asking: _Asking) -> None:
        self._tags = remote.tags
        self._ask = asking.ask

    def get(self, repository: Repository, tag: Tag) -> Deferred[RemoteTag]:
        return self._ask(repository, Missing.TAG, tag, lambda: self._tags.get(repository, tag))

    def stat(self, repository: Repository, tag: Tag, known: RemoteTag | None) -> Deferred[RemoteTag | None]:
        return self._ask(repository, Missing.TAG, tag, lambda: self._tags.stat(repository, tag, known))

    def list(self, repository: Repository) -> Deferred[tuple[str, ...]]:
        return self._ask(repository, Missing.TAGS, None, lambda: self._tags.list(repository))
