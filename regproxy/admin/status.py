"""The status page: what a mirror does now, as one JSON document for programs and for ``regproxy status``.

Laws: the document is versioned, and a version only ever gains fields. It is bounded: of lists that
may be long MAX_LISTED are told and how many there are, of texts MAX_TEXT signs. Amounts are bytes
(``_bytes``) and seconds (``_s``); what is not known is null.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import attrs
from twisted.web.iweb import IRequest

from regproxy.admin.pages import Page, Sheet, as_json
from regproxy.admin.standings import allowance_document, circuit_document
from regproxy.interfaces import Allowance, Standing
from regproxy.oci.digest import Digest

PROGRAM, VERSION = "regproxy", 1
MAX_LISTED = 100
MAX_TEXT = 300

Sample = Callable[[str, dict[str, str]], float | None]
"""The value of a figure, by its name and labels; None where nothing was counted."""

T = TypeVar("T")

_COUNTS = ("requests", "hits", "misses", "pulled_bytes", "pushed_bytes")
COUNTED = tuple(f"registry_proxy_{name}_total" for name in _COUNTS)
"""The figures that the page has, by type of content."""


class FillState(Protocol):
    """A fill as it is at one moment. ``front`` is how many bytes have come."""

    @property
    def digest(self) -> Digest:
        """What is fetched."""

    @property
    def upstream(self) -> str:
        """From where."""

    @property
    def repository(self) -> str:
        """In which of the upstream's repositories."""

    @property
    def size_bytes(self) -> int | None:
        """Its size, once that is known."""

    @property
    def front(self) -> int:
        """Bytes that have come."""

    @property
    def readers(self) -> int:
        """How many clients read it now."""

    @property
    def age_s(self) -> float:
        """Seconds since it began."""

    @property
    def state(self) -> str:
        """``opening``, ``running``, ..."""


@attrs.frozen(slots=True)
class DiskState:
    """What lies on the disk. ``counted``: whether all of it was counted.

    ``used_bytes``: what content takes there, on its way too; ``limit_bytes`` None: it may take all that
    there is; ``pinned_bytes`` of it stay.
    """

    blobs: int
    blob_bytes: int
    counted: bool
    free_bytes: int | None
    total_bytes: int | None
    spools: int = 0
    """Transfers that have ended before their end, for later ones to go on from."""
    spool_bytes: int = 0
    used_bytes: int | None = None
    limit_bytes: int | None = None
    pinned_bytes: int | None = None


@attrs.frozen(slots=True)
class UpstreamState:
    """``answers`` None: not known yet; ``since_s``: for how long it has been so."""

    name: str
    default: bool
    answers: bool | None
    since_s: float | None
    trouble: str | None
    trouble_ago_s: float | None
    standing: Standing = attrs.field(factory=Standing)
    allowance: Allowance = attrs.field(factory=Allowance)
    endpoints: Sequence[tuple[str, Standing]] = ()
    """Each one's host."""


@attrs.frozen(slots=True)
class MovedState:
    """A tag that looks like a full version and came to mean another digest, so long ago."""

    upstream: str
    repository: str
    tag: str
    before: Digest
    after: Digest
    ago_s: float


@attrs.frozen(slots=True)
class ScrubPass:
    """A pass of the scrub that ended."""

    began_s: float
    ended_s: float
    blobs: int
    bytes: int
    bad: int
    full: bool


@attrs.frozen(slots=True)
class BadBlob:
    """A blob that was set aside: ``wrong``, ``unreadable`` or of another ``size``."""

    digest: str
    found_s: float
    why: str


@attrs.frozen(slots=True)
class UpkeepState:
    """The scrub. ``every_s`` None: only when asked for; ``full``: a pass that somebody asked for runs.

    ``share``, ``blobs``, ``bytes`` and ``bad`` are of the running pass, ``total_bytes`` is what there is;
    times are seconds since the epoch.
    """

    every_s: float | None
    full: bool
    began_s: float | None
    share: float | None
    blobs: int
    bytes: int
    bad: int
    total_bytes: int
    last: ScrubPass | None
    found: tuple[BadBlob, ...]
    surveyed_s: float | None


@attrs.frozen(slots=True)
class UsedState:
    """A tag that was used so long ago. ``sent_bytes`` are of its image; None: not known now."""

    image: str
    ago_s: float
    pulls: int
    sent_bytes: int | None


@attrs.frozen(slots=True)
class Now:
    """All that a document is made of.

    ``reasons`` speak against sending clients, ``warnings`` do not; ``entries`` may expire. ``moved`` are the
    last of ``moved_count`` since the start, the newest first.
    """

    version: str
    uptime_s: float
    reasons: Sequence[str]
    warnings: Sequence[str]
    sample: Sample
    disk: DiskState | None
    upstreams: Sequence[UpstreamState]
    fills: Sequence[FillState]
    entries: int | None
    entries_loaded: bool | None
    moved: Sequence[MovedState] = ()
    moved_count: int = 0
    used: Sequence[UsedState] = ()
    """The tags that were used last, the newest first."""
    now_s: float = 0.0
    """Seconds since the epoch."""
    upkeep: UpkeepState | None = None


def status_document(now: Now) -> dict[str, object]:
    """The document."""
    blob, manifest = _counts(now.sample, "blob"), _counts(now.sample, "manifest")
    return {
        "program": PROGRAM,
        "version": VERSION,
        "daemon": {
            "version": now.version,
            "uptime_s": round(now.uptime_s, 3),
            "reasons": [_short(reason) for reason in now.reasons[:MAX_LISTED]],
            "warnings": [_short(warning) for warning in now.warnings[:MAX_LISTED]],
        },
        "content": {"blob": blob, "manifest": manifest},
        "saved_bytes": _saved(blob, manifest),
        "disk": None if now.disk is None else attrs.asdict(now.disk),
        "upstreams": _listed(now.upstreams, partial(_upstream, now.now_s)),
        "fills": _listed(sorted(now.fills, key=lambda fill: -fill.age_s), _fill),
        "expiry": {"entries": now.entries, "loaded": now.entries_loaded},
        "last_used": [_used(each) for each in now.used[:MAX_LISTED]],
        "moved_tags": {**_listed(now.moved, _moved), "count": now.moved_count},
        "scrub": None if now.upkeep is None else attrs.asdict(now.upkeep),
    }


def _counts(sample: Sample, kind: str) -> dict[str, int]:
    values = (sample(name, {"type": kind}) or 0 for name in COUNTED)
    return {name: int(value) for name, value in zip(_COUNTS, values, strict=True)}


def _saved(*counts: Mapping[str, int]) -> int:
    """What clients were sent beyond what was fetched for them."""
    return max(0, sum(count["pushed_bytes"] - count["pulled_bytes"] for count in counts))


def _listed(found: Sequence[T], tell: Callable[[T], Mapping[str, object]]) -> dict[str, object]:
    return {"count": len(found), "listed": [tell(one) for one in found[:MAX_LISTED]]}


def _upstream(now_s: float, state: UpstreamState) -> dict[str, object]:
    told = (
        {"reason": _short(state.trouble), "ago_s": _rounded(state.trouble_ago_s)} if state.trouble else None
    )
    return {
        "name": _short(state.name),
        "default": state.default,
        "answers": state.answers,
        "since_s": _rounded(state.since_s),
        "trouble": told,
        "circuit": circuit_document(state.standing, now_s),
        "endpoints": [
            {"host": _short(host), "circuit": circuit_document(standing, now_s)}
            for host, standing in state.endpoints[:MAX_LISTED]
        ],
        "allowance": allowance_document(state.allowance, now_s),
    }


def _fill(state: FillState) -> dict[str, object]:
    return {
        "digest": str(state.digest),
        "upstream": _short(state.upstream),
        "repository": _short(state.repository),
        "state": state.state,
        "size_bytes": state.size_bytes,
        "front_bytes": state.front,
        "readers": state.readers,
        "age_s": round(state.age_s, 3),
    }


def _used(state: UsedState) -> dict[str, object]:
    return {
        "image": _short(state.image),
        "ago_s": round(state.ago_s, 3),
        "pulls": state.pulls,
        "sent_bytes": state.sent_bytes,
    }


def _moved(state: MovedState) -> dict[str, object]:
    return {
        "upstream": _short(state.upstream),
        "repository": _short(state.repository),
        "tag": state.tag,
        "before": str(state.before),
        "after": str(state.after),
        "ago_s": round(state.ago_s, 3),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 2]}.."


def status(now: Callable[[], Awaitable[Now]]) -> Page:
    """The page; ``now`` looks around when it is asked for."""

    async def page(request: IRequest) -> Sheet:
        return as_json(status_document(await now()))

    return page
