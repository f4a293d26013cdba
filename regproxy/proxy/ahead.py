"""Looking ahead: who asks for one layer of an image soon asks for the others.

Laws: only what a manifest names that this repository was just served. It is one more fill, as if
a client had asked and left: the upstream's own answer gives the right, and the first trouble ends
it for that image. At most ``ahead`` run for an image, in the manifest's order; a client who asks for
one of them meanwhile joins it. Nothing is begun where the upstream has its limit of connections
already, allows no more requests for now or is down, nor for a disk that takes no writes. Nothing waits for
any of this, and it costs a hit nothing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from regproxy.errors import RegproxyError, Throttled
from regproxy.fill.table import FillTable
from regproxy.interfaces import ILocalStore
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor, Manifest
from regproxy.oci.repository import Repository

_log = Logger()

T = TypeVar("T")

MAX_LAYER_BYTES = 2 * 1024 * 1024 * 1024
"""A larger one is fetched when somebody wants it."""
MAX_REPOSITORIES = 1024
MAX_FETCHED = 1024
"""So many layers are remembered, until somebody asks for them: a figure, no more."""
RECENT_MANIFESTS = 8
"""Of each repository: a pull asks for an index, a manifest, then the layers."""


def worth_having(manifest: Manifest, asked: Digest) -> Iterator[Descriptor]:
    """The layers of an image that are fetched beside ``asked``, in order; none when it does not name it."""
    if not any(each.digest == asked for each in manifest.names()):
        return
    for each in manifest.layers():
        foreign = "foreign" in each.media_type or "nondistributable" in each.media_type
        if each.digest != asked and not foreign and 0 < each.size_bytes <= MAX_LAYER_BYTES:
            yield each


class LookAhead:
    """``begin`` starts the fill of a blob for a repository and fires when that is over."""

    def __init__(
        self,
        store: ILocalStore,
        fills: FillTable,
        begin: Callable[[Repository, Digest], Deferred[None]],
        ahead: int,
        asked: Callable[[str], bool] = lambda upstream: True,
    ) -> None:
        """``asked``: whether an upstream is asked at all now."""
        self._asked = asked
        self._store = store
        self._fills = fills
        self._begin = begin
        self._ahead = ahead
        self._served: OrderedDict[Repository, tuple[Digest, ...]] = OrderedDict()
        self._images: dict[tuple[Repository, Digest], _Image] = {}
        self._under_way: Counter[str] = Counter()
        """How many run, by upstream."""
        self._fetched: OrderedDict[Digest, int] = OrderedDict()
        self.fetched_bytes = 0
        """Looked ahead, so far."""
        self.wanted_bytes = 0
        """Of them, what somebody asked for afterwards."""

    def __repr__(self) -> str:
        return f"<LookAhead {len(self._images)} images>"

    def served(self, repository: Repository, digest: Digest) -> None:
        """A manifest, or index, was given to a client."""
        recent = self._served.get(repository, ())
        if digest not in recent:
            self._served[repository] = (*recent[1 - RECENT_MANIFESTS :], digest)
            if len(self._served) > MAX_REPOSITORIES:
                self._served.popitem(last=False)

    def asked(self, repository: Repository, digest: Digest) -> None:
        """A client wants this blob, and the disk does not have it."""
        self.used(digest)
        if not self._ahead or self._store.refuses():
            return
        for top in reversed(self._served.get(repository, ())):
            image = self._images.get((repository, top))
            if image is not None:
                image.asked(digest)
                continue
            manifest = self._store.manifest_at_hand(repository, top)
            layers = () if manifest is None else tuple(filter(self._fits, worth_having(manifest, digest)))
            if layers:
                self._look(repository, top, layers)
                return

    def _fits(self, layer: Descriptor) -> bool:
        """Whether it would be kept."""
        return self._fills.limit.allows(layer.size_bytes)

    def size_of(self, repository: Repository, digest: Digest) -> int | None:
        """What a manifest that the repository's clients were given says, None: there is none at hand."""
        for top in reversed(self._served.get(repository, ())):
            manifest = self._store.manifest_at_hand(repository, top)
            for each in () if manifest is None else manifest.names():
                if each.digest == digest:
                    return each.size_bytes
        return None

    def used(self, digest: Digest) -> None:
        """A client is given this blob."""
        if self._fetched:
            self.wanted_bytes += self._fetched.pop(digest, 0)

    def _look(self, repository: Repository, top: Digest, layers: Iterable[Descriptor]) -> None:
        def ended() -> None:
            del self._images[repository, top]

        image = self._images[repository, top] = _Image(
            layers,
            self._ahead,
            partial(self._begin_counted, repository),
            partial(self._may_begin, repository),
            self._lacks,
            self._note,
            ended,
        )
        image.go_on()

    def _begin_counted(self, repository: Repository, digest: Digest) -> Deferred[None]:
        def over(result: T) -> T:
            self._under_way[repository.upstream] -= 1
            if isinstance(result, Failure) and isinstance(result.value, Throttled):
                self._fills.lines.leave_alone(repository.upstream, result.value.retry_after_s)
            return result

        self._under_way[repository.upstream] += 1
        return self._begin(repository, digest).addBoth(over)

    def _may_begin(self, repository: Repository) -> bool:
        upstream = repository.upstream
        if self._store.refuses() or not self._asked(upstream) or not self._fills.wants_ahead(repository):
            return False
        return self._fills.lines.quiet(upstream, self._under_way[upstream])

    def _lacks(self, digest: Digest) -> bool:
        return self._store.holds(digest) is None and self._fills.running(digest) is None

    def _note(self, layer: Descriptor) -> None:
        self.fetched_bytes += layer.size_bytes
        self._fetched[layer.digest] = layer.size_bytes
        if len(self._fetched) > MAX_FETCHED:
            self._fetched.popitem(last=False)


class _Image:
    """The layers of one image that are still to come; ``ended`` is called once, when none is."""

    def __init__(
        self,
        layers: Iterable[Descriptor],
        most: int,
        begin: Callable[[Digest], Deferred[None]],
        may_begin: Callable[[], bool],
        lacks: Callable[[Digest], bool],
        note: Callable[[Descriptor], None],
        ended: Callable[[], None],
    ) -> None:
        self._layers = deque(layers)
        self._most = most
        self._begin = begin
        self._may_begin = may_begin
        self._lacks = lacks
        self._note = note
        self._tell = ended
        self._ahead: set[Digest] = set()
        self._over = False

    def asked(self, digest: Digest) -> None:
        """A client waits for it now: it is not ahead any more."""
        self._ahead.discard(digest)
        self.go_on()

    def go_on(self) -> None:
        """Begin what may begin; where nothing may, and nothing runs, whoever asks next begins anew."""
        while self._layers and len(self._ahead) < self._most and self._may_begin():
            layer = self._layers.popleft()
            if self._lacks(layer.digest):
                self._ahead.add(layer.digest)
                self._note(layer)
                begun = self._begin(layer.digest)
                begun.addErrback(self._give_up).addCallback(self._ended, layer.digest)
        if not self._ahead and not self._over and not (self._layers and self._may_begin()):
            self._over = True
            self._layers.clear()
            self._tell()

    def _give_up(self, failure: Failure) -> None:
        self._layers.clear()
        if failure.check(RegproxyError):
            _log.debug("looking ahead ended: {error}", error=str(failure.value))
        else:
            _log.failure("looking ahead broke", failure)

    def _ended(self, _: None, digest: Digest) -> None:
        self._ahead.discard(digest)
        self.go_on()
