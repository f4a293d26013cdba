"""The admin's status page, read: JSON of version 1 into records, or the place where it is not that.

What a newer daemon adds is passed over; what an older one lacks is None or nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, cast

import attrs

PROGRAM, VERSION = "regproxy", 1
MAX_NUMBER = 2**63

T = TypeVar("T")


class Unreadable(Exception):
    """It is no status page that we know; the message is a clause that says why, in words of ours."""


@attrs.frozen(slots=True)
class Counts:
    """What was asked of one kind of content since the daemon began. ``pulled``: from upstreams."""

    requests: int | None
    hits: int | None
    misses: int | None
    pulled_bytes: int | None
    pushed_bytes: int | None


@attrs.frozen(slots=True)
class Disk:
    """``counted``: whether a survey has confirmed the figures."""

    blobs: int | None
    blob_bytes: int | None
    counted: bool | None
    free_bytes: int | None
    total_bytes: int | None
    used_bytes: int | None = None
    limit_bytes: int | None = None
    pinned_bytes: int | None = None


OFFLINE = "offline"
"""A circuit's state by an operator's word: no trouble."""


@attrs.frozen(slots=True)
class Circuit:
    """Whether it is asked: ``state`` is closed, half-open, open or offline, of an older daemon None."""

    state: str | None = None
    for_s: float | None = None
    reason: str | None = None
    retry_s: float | None = None


@attrs.frozen(slots=True)
class Allowance:
    """What its rate limit leaves; ``resets_s``: in how many seconds there is more."""

    thrift: str | None = None
    limit: int | None = None
    remaining: int | None = None
    window_s: float | None = None
    resets_s: float | None = None
    retry_after_s: float | None = None
    hours_left: float | None = None


@attrs.frozen(slots=True)
class Endpoint:
    """One of the places where an upstream is asked."""

    host: str
    circuit: Circuit


@attrs.frozen(slots=True)
class Upstream:
    """``answers`` None: not known yet; ``since_s`` is for how long it has been as it is."""

    name: str
    default: bool | None
    answers: bool | None
    since_s: float | None
    trouble: str | None
    trouble_ago_s: float | None
    circuit: Circuit = Circuit()
    allowance: Allowance = Allowance()
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def calm(self) -> bool:
        """Whether its last trouble is over, or nobody asks it by an operator's word."""
        return bool(self.answers) or self.circuit.state == OFFLINE


@attrs.frozen(slots=True)
class Fill:
    """One blob on its way. ``front_bytes`` of ``size_bytes`` have come."""

    digest: str
    upstream: str
    repository: str
    state: str
    size_bytes: int | None
    front_bytes: int
    readers: int | None
    age_s: float


@attrs.frozen(slots=True)
class Move:
    """A version that came to mean another digest."""

    upstream: str
    repository: str
    tag: str
    before: str
    after: str
    ago_s: float | None


@attrs.frozen(slots=True)
class Bad:
    """A blob that was set aside."""

    digest: str
    found_s: float | None
    why: str


@attrs.frozen(slots=True)
class Passed:
    """A pass of the scrub that ended."""

    ended_s: float | None
    blobs: int | None
    bytes: int | None
    bad: int | None
    full: bool


@attrs.frozen(slots=True)
class Scrub:
    """``every_s`` None: only when asked for; ``full``: one that was asked for runs. Times since the epoch."""

    every_s: float | None
    full: bool
    share: float | None
    blobs: int
    bytes: int
    bad: int
    total_bytes: int | None
    last: Passed | None
    found: tuple[Bad, ...]
    surveyed_s: float | None


@attrs.frozen(slots=True)
class Used:
    """A tag that was used lately."""

    image: str
    ago_s: float | None
    pulls: int | None
    sent_bytes: int | None


@attrs.frozen(slots=True)
class Document:
    """All of it. ``*_count`` is how many there are, which may be more than are listed."""

    daemon_version: str
    uptime_s: float | None
    reasons: tuple[str, ...]
    """Why it is not ready; empty: it is."""
    warnings: tuple[str, ...]
    blobs: Counts
    manifests: Counts
    saved_bytes: int | None
    disk: Disk
    upstreams: tuple[Upstream, ...]
    upstream_count: int
    fills: tuple[Fill, ...]
    fill_count: int
    entries: int | None
    entries_loaded: bool | None
    moved: tuple[Move, ...]
    moved_count: int
    scrub: Scrub | None = None
    used: tuple[Used, ...] = ()


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object of a status page, of whatever version; :exc:`Unreadable`."""
    try:
        found = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Unreadable("its answer is not JSON") from None
    if not isinstance(found, dict) or found.get("program") != PROGRAM:
        raise Unreadable("its answer is not a status page")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError


def read(found: Mapping[str, Any]) -> Document:
    """The records; :exc:`Unreadable` when the page is of another version or not as it should be."""
    page = Object(found, "")
    if page.whole("version") != VERSION:
        raise Unreadable(f"its status page is not of version {VERSION}: it needs another regproxy, or --json")
    daemon, content, expiry = page.object("daemon"), page.object("content"), page.object("expiry")
    upstreams, fills = page.object("upstreams"), page.object("fills")
    listed = upstreams.each("listed", _upstream)
    moving = fills.each("listed", _fill)
    moved_tags = page.object("moved_tags")
    moved = moved_tags.each("listed", _move)
    return Document(
        daemon_version=daemon.text("version") or "?",
        uptime_s=daemon.seconds("uptime_s"),
        reasons=daemon.texts("reasons"),
        warnings=daemon.texts("warnings"),
        blobs=_counts(content.object("blob")),
        manifests=_counts(content.object("manifest")),
        saved_bytes=page.whole("saved_bytes"),
        disk=_disk(page.object("disk")),
        upstreams=listed,
        upstream_count=max(upstreams.whole("count") or 0, len(listed)),
        fills=moving,
        fill_count=max(fills.whole("count") or 0, len(moving)),
        entries=expiry.whole("entries"),
        entries_loaded=expiry.flag("loaded"),
        moved=moved,
        moved_count=max(moved_tags.whole("count") or 0, len(moved)),
        scrub=read_scrub(found),
        used=page.each("last_used", _used),
    )


def read_scrub(found: Mapping[str, Any]) -> Scrub | None:
    """How far the scrub is; None of a daemon that has none. :exc:`Unreadable`."""
    if found.get("scrub") is None:
        return None
    scrub = Object(found, "").object("scrub")
    share = scrub.seconds("share")
    return Scrub(
        every_s=scrub.seconds("every_s"),
        full=scrub.flag("full") is True,
        share=None if share is None else min(share, 1.0),
        blobs=scrub.whole("blobs") or 0,
        bytes=scrub.whole("bytes") or 0,
        bad=scrub.whole("bad") or 0,
        total_bytes=scrub.whole("total_bytes"),
        last=None if found["scrub"].get("last") is None else _passed(scrub.object("last")),
        found=scrub.each("found", _bad),
        surveyed_s=scrub.seconds("surveyed_s"),
    )


def _passed(last: Object) -> Passed:
    return Passed(
        last.seconds("ended_s"),
        last.whole("blobs"),
        last.whole("bytes"),
        last.whole("bad"),
        last.flag("full") is True,
    )


def _bad(bad: Object) -> Bad:
    return Bad(bad.text("digest") or "?", bad.seconds("found_s"), bad.text("why") or "?")


class Object:
    """A JSON object whose fields are asked for by type: None where there is none."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, Mapping):
            raise Unreadable(f"{path} is not an object")
        self._value = cast(Mapping[str, object], value)
        self._path = path

    def _field(self, name: str, kind: str, fits: Callable[[Any], bool]) -> Any:
        value = self._value.get(name)
        if value is not None and not fits(value):
            raise Unreadable(f"{self._place(name)} is not {kind}")
        return value

    def _place(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def object(self, name: str) -> Object:
        """Without one, an empty one."""
        return Object(self._value.get(name) or {}, self._place(name))

    def whole(self, name: str) -> int | None:
        """A count."""
        found: int | None = self._field(name, "a count", _is_count)
        return found

    def seconds(self, name: str) -> float | None:
        """An amount, not below zero."""
        found: float | None = self._field(name, "a number of seconds", _is_amount)
        return found

    def text(self, name: str) -> str | None:
        """A text."""
        found: str | None = self._field(name, "a text", lambda value: isinstance(value, str))
        return found

    def flag(self, name: str) -> bool | None:
        """True or false."""
        found: bool | None = self._field(name, "true or false", lambda value: isinstance(value, bool))
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; without one, an empty one."""
        found = self._field(name, "a list of texts", _is_texts)
        return tuple(found or ())

    def each(self, name: str, parse: Callable[[Object], T]) -> tuple[T, ...]:
        """The objects of a list, parsed."""
        found = self._field(name, "a list", lambda value: isinstance(value, list)) or []
        return tuple(
            parse(Object(value, f"{self._place(name)}[{index}]")) for index, value in enumerate(found)
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_NUMBER


def _is_amount(value: object) -> bool:
    return _is_count(value) or (isinstance(value, float) and math.isfinite(value) and 0 <= value < MAX_NUMBER)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _counts(kind: Object) -> Counts:
    return Counts(*(kind.whole(field.name) for field in attrs.fields(Counts)))


def _disk(disk: Object) -> Disk:
    amounts = {field.name: disk.whole(field.name) for field in attrs.fields(Disk) if field.name != "counted"}
    return Disk(counted=disk.flag("counted"), **amounts)


def _upstream(upstream: Object) -> Upstream:
    trouble = upstream.object("trouble")
    return Upstream(
        upstream.text("name") or "?",
        upstream.flag("default"),
        upstream.flag("answers"),
        upstream.seconds("since_s"),
        trouble.text("reason"),
        trouble.seconds("ago_s"),
        read_circuit(upstream.object("circuit")),
        read_allowance(upstream.object("allowance")),
        upstream.each("endpoints", _endpoint),
    )


def _endpoint(found: Object) -> Endpoint:
    return Endpoint(found.text("host") or "?", read_circuit(found.object("circuit")))


def read_circuit(found: Object) -> Circuit:
    """Nothing is known, where there is none."""
    return Circuit(
        found.text("state"), found.seconds("for_s"), found.text("reason"), found.seconds("retry_s")
    )


def read_allowance(found: Object) -> Allowance:
    """Nothing is known, where there is none."""
    return Allowance(
        found.text("thrift"),
        found.whole("limit"),
        found.whole("remaining"),
        *(found.seconds(name) for name in ("window_s", "resets_s", "retry_after_s", "hours_left")),
    )


def _fill(fill: Object) -> Fill:
    return Fill(
        fill.text("digest") or "?",
        fill.text("upstream") or "?",
        fill.text("repository") or "?",
        fill.text("state") or "?",
        fill.whole("size_bytes"),
        fill.whole("front_bytes") or 0,
        fill.whole("readers"),
        fill.seconds("age_s") or 0.0,
    )


def _used(used: Object) -> Used:
    return Used(
        used.text("image") or "?", used.seconds("ago_s"), used.whole("pulls"), used.whole("sent_bytes")
    )


def _move(move: Object) -> Move:
    return Move(
        move.text("upstream") or "?",
        move.text("repository") or "?",
        move.text("tag") or "?",
        move.text("before") or "?",
        move.text("after") or "?",
        move.seconds("ago_s"),
    )
