"""The status page: what a mirror does now, as one JSON document for programs and for ``regproxy status``.

Laws: the document is versioned, and a version only ever gains fields. It is bounded: of lists that
may be long MAX_LISTED are told and how many there are, of texts MAX_TEXT signs. Amounts are bytes
(``_bytes``) and seconds (``_s``); what is not known is null.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import attrs
from twisted.web.iweb import IRequest

from regproxy.admin.pages import Page, Sheet, as_json
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


@attrs.frozen(slots=True)
class Now:
    """All that a document is made of.

    ``reasons`` speak against sending clients, ``warnings`` do not; ``entries`` may expire.
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
        "upstreams": _listed(now.upstreams, _upstream),
        "fills": _listed(sorted(now.fills, key=lambda fill: -fill.age_s), _fill),
        "expiry": {"entries": now.entries, "loaded": now.entries_loaded},
    }


def _counts(sample: Sample, kind: str) -> dict[str, int]:
    values = (sample(name, {"type": kind}) or 0 for name in COUNTED)
    return {name: int(value) for name, value in zip(_COUNTS, values, strict=True)}


def _saved(*counts: Mapping[str, int]) -> int:
    """What clients were sent beyond what was fetched for them."""
    return max(0, sum(count["pushed_bytes"] - count["pulled_bytes"] for count in counts))


def _listed(found: Sequence[T], tell: Callable[[T], Mapping[str, object]]) -> dict[str, object]:
    return {"count": len(found), "listed": [tell(one) for one in found[:MAX_LISTED]]}


def _upstream(state: UpstreamState) -> dict[str, object]:
    told = (
        {"reason": _short(state.trouble), "ago_s": _rounded(state.trouble_ago_s)} if state.trouble else None
    )
    return {
        "name": _short(state.name),
        "default": state.default,
        "answers": state.answers,
        "since_s": _rounded(state.since_s),
        "trouble": told,
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


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 2]}.."


def status(now: Callable[[], Awaitable[Now]]) -> Page:
    """The page; ``now`` looks around when it is asked for."""

    async def page(request: IRequest) -> Sheet:
        return as_json(status_document(await now()))

    return page
