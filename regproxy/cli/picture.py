"""The status of a mirror as lines for a terminal. Pure: a document, rates and a width in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from regproxy.cli.amounts import count_text, plural, rate_text, share_text, size_text, span_text
from regproxy.cli.document import OFFLINE, Counts, Disk, Document, Fill, Upstream
from regproxy.cli.lines import Line, Part, Tone, cut, fitting, harmless, width_of
from regproxy.cli.standings import allowance_clauses, circuit_text, lasting_text

MIN_BAR, MAX_BAR = 5, 40
NARROW = 36
NAME_WIDTH = 24
HEX_SHOWN = 12
ENDPOINTS = 8
"""So many endpoints of an upstream are looked at."""
MIN_RATE = 1.0

_NOTHING = "-"


def picture(document: Document, rates: Mapping[str, float], width: int) -> list[Line]:
    """All of it, no line wider than ``width`` columns: what changes most stands above what a low screen
    leaves out. ``rates``: bytes a second, by digest."""
    lines = [_head(document, width)]
    lines += [fitting(width, 0, [Part(f"not ready: {harmless(why)}", Tone.RED)]) for why in document.reasons]
    lines += [fitting(width, 0, [Part(harmless(what), Tone.YELLOW)]) for what in document.warnings]
    lines += _scrub(document, width)
    lines += _content(document, width)
    lines += [_disk(document.disk, width), _entries(document, width)]
    lines += _fills(document, rates, width)
    lines += _upstreams(document, width)
    lines += _moved(document, width)
    lines += _used(document, width)
    return lines


def _head(document: Document, width: int) -> Line:
    ready = Part("not ready", Tone.RED) if document.reasons else Part("ready", Tone.GREEN)
    up = Part(f"up {_span(document.uptime_s)}")
    return fitting(width, 0, [Part(f"regproxy {harmless(document.daemon_version)}", Tone.BOLD), ready, up])


def _scrub(document: Document, width: int) -> Iterator[Line]:
    """Only where the disk has spoilt something."""
    if document.scrub is not None and document.scrub.found:
        count = plural(len(document.scrub.found), "bad blob")
        yield fitting(
            width, 0, [Part(f"{count} found and set aside: regproxy scrub says which", Tone.YELLOW)]
        )


def _content(document: Document, width: int) -> Iterator[Line]:
    yield _row(width, "", ["requests", "hits", "misses", "hit rate"], Tone.FAINT)
    yield _row(width, "blobs", _counted(document.blobs))
    yield _row(width, "manifests", _counted(document.manifests))
    pulled = _sum(document.blobs.pulled_bytes, document.manifests.pulled_bytes)
    pushed = _sum(document.blobs.pushed_bytes, document.manifests.pushed_bytes)
    saved, served = document.saved_bytes or 0, pushed or 0
    share = f" ({share_text(saved, served)})" if served else ""
    yield _titled(
        width,
        "bytes",
        [
            Part(f"saved {_size(document.saved_bytes)}{share}", Tone.BOLD),
            Part(f"served {_size(pushed)}"),
            Part(f"fetched {_size(pulled)}"),
        ],
    )


def _counted(counts: Counts) -> list[str]:
    asked = (counts.hits or 0) + (counts.misses or 0)
    shown = [_count(counts.requests), _count(counts.hits), _count(counts.misses)]
    return [*shown, share_text(counts.hits or 0, asked)]


def _row(width: int, title: str, cells: Sequence[str], tone: Tone = Tone.PLAIN) -> Line:
    """A line of the table: columns that do not fit are left out, the last ones first."""
    return _titled(width, title, [Part(f"{cell:>12}", tone) for cell in cells])


def _titled(width: int, title: str, parts: Sequence[Part]) -> Line:
    """A title of nine columns in front; where there is no room for those, the first part says more."""
    if width >= NARROW:
        return fitting(width, 0, [Part(f"{title:<9}", Tone.FAINT), *parts])
    first = parts[0].text.strip()
    return fitting(width, 0, [Part(f"{title} {first}".strip() if title != "bytes" else first, parts[0].tone)])


def _disk(disk: Disk, width: int) -> Line:
    held = "-" if disk.blobs is None else f"{plural(disk.blobs, 'blob')}, {_size(disk.blob_bytes)}"
    parts = [Part(held)]
    if disk.limit_bytes is not None:
        taken = share_text(disk.used_bytes or 0, disk.limit_bytes)
        parts.append(Part(f"{taken} of {size_text(disk.limit_bytes)}"))
    if disk.pinned_bytes:
        parts.append(Part(f"{size_text(disk.pinned_bytes)} pinned"))
    if disk.counted is False:
        parts.append(Part("still being counted", Tone.YELLOW))
    if disk.free_bytes is not None:
        share = f" ({share_text(disk.free_bytes, disk.total_bytes)})" if disk.total_bytes else ""
        parts.append(Part(f"{_size(disk.free_bytes)} free{share}"))
    return _titled(width, "disk", parts)


def _entries(document: Document, width: int) -> Line:
    held = _NOTHING if document.entries is None else plural(document.entries, "entry")
    loading = [Part("still being read", Tone.YELLOW)] if document.entries_loaded is False else []
    return _titled(width, "expiry", [Part(held), *loading])


def _upstreams(document: Document, width: int) -> Iterator[Line]:
    yield ()
    yield fitting(width, 0, [Part(plural(document.upstream_count, "upstream"), Tone.BOLD)])
    for upstream in document.upstreams:
        yield from _upstream(upstream, width)
    yield from _unlisted(document.upstream_count - len(document.upstreams), width)


def _upstream(upstream: Upstream, width: int) -> Iterator[Line]:
    """Its state beside its name where there is room; below it why it does not answer."""
    name = Part(harmless(upstream.name) + (" (default)" if upstream.default else ""))
    state, trouble = _answers(upstream), _trouble(upstream)
    below = [] if upstream.calm else trouble
    beside = trouble if upstream.calm else []
    padded = Part(name.text.ljust(NAME_WIDTH)) if width > 2 * NAME_WIDTH else name
    first = fitting(width, 2, [padded, state])
    if first[-1] != state:
        first, below = fitting(width, 2, [name]), [state, *below]
    elif beside and (room := width - width_of(first) - 2) >= NAME_WIDTH:
        first = (*first, Part("  "), *cut(beside, room))
    yield first
    yield from (fitting(width, 4, [part]) for part in below)
    yield from (fitting(width, 4, parts) for parts in _standing(upstream))


def _standing(upstream: Upstream) -> Iterator[list[Part]]:
    """What is out of the ordinary: an upstream, or one of its endpoints, that failed and is not asked, a rate
    limit."""
    circuit, allowance = circuit_text(upstream.circuit), allowance_clauses(upstream.allowance)
    if circuit and upstream.circuit.state not in ("closed", OFFLINE):
        yield [Part(f"circuit {circuit}", Tone.RED if upstream.circuit.state == "open" else Tone.YELLOW)]
    else:
        for each in upstream.endpoints[:ENDPOINTS]:
            if each.circuit.state not in (None, "closed", OFFLINE):
                yield [Part(f"{harmless(each.host)} {circuit_text(each.circuit)}", Tone.YELLOW)]
    if allowance:
        tone = Tone.FAINT if upstream.allowance.thrift in (None, "free") else Tone.YELLOW
        first, *others = allowance
        yield [Part(f"rate limit: {first}", tone), *(Part(clause, tone) for clause in others)]


def _answers(upstream: Upstream) -> Part:
    if upstream.circuit.state == OFFLINE:
        return Part(lasting_text(upstream.circuit), Tone.YELLOW)
    lasting = "" if upstream.since_s is None else f" for {_span(upstream.since_s)}"
    if upstream.answers is None:
        return Part("not asked yet", Tone.FAINT)
    if upstream.answers:
        return Part(f"answers{lasting}", Tone.GREEN)
    return Part(f"in trouble{lasting}", Tone.RED)


def _trouble(upstream: Upstream) -> list[Part]:
    if upstream.trouble is None:
        return []
    ago = "" if upstream.trouble_ago_s is None else f"{_span(upstream.trouble_ago_s)} ago: "
    tone = Tone.FAINT if upstream.calm else Tone.YELLOW
    return [Part(f"{ago}{harmless(upstream.trouble)}", tone)]


def _fills(document: Document, rates: Mapping[str, float], width: int) -> Iterator[Line]:
    yield ()
    title = (
        f"{plural(document.fill_count, 'fill')} in flight" if document.fill_count else "no fills in flight"
    )
    yield fitting(width, 0, [Part(title, Tone.BOLD)])
    for fill in document.fills:
        yield _what(fill, width)
        yield _progress(fill, rates.get(fill.digest, 0.0), width)
    yield from _unlisted(document.fill_count - len(document.fills), width)


def _moved(document: Document, width: int) -> Iterator[Line]:
    """Versions that came to mean something else; nothing where none did."""
    if not document.moved_count:
        return
    yield ()
    yield fitting(width, 0, [Part(f"{plural(document.moved_count, 'tag')} moved", Tone.BOLD)])
    for move in document.moved:
        name = Part(
            f"{harmless(move.upstream)}/{harmless(move.repository)}:{harmless(move.tag)}", Tone.YELLOW
        )
        yield fitting(width, 2, [name, Part(f"{_span(move.ago_s)} ago")])
        yield fitting(
            width, 4, [Part(f"from {_cut(move.before)}", Tone.FAINT), Part(f"to {_cut(move.after)}")]
        )
    yield from _unlisted(document.moved_count - len(document.moved), width)


def _used(document: Document, width: int) -> Iterator[Line]:
    """Who pulls what; nothing where nobody did since the start."""
    if not document.used:
        return
    yield ()
    yield fitting(width, 0, [Part("pulled last", Tone.BOLD)])
    for used in document.used:
        pulls = "-" if used.pulls is None else plural(used.pulls, "pull")
        sent = "" if used.sent_bytes is None else f"{_size(used.sent_bytes)} sent"
        told = [Part(f"{_span(used.ago_s)} ago"), Part(pulls), *([Part(sent)] if sent else [])]
        yield fitting(width, 2, [Part(harmless(used.image)), *told])


def _cut(digest: str) -> str:
    algorithm, colon, digits = harmless(digest).partition(":")
    return f"{algorithm}{colon}{digits[:HEX_SHOWN]}"


def _unlisted(more: int, width: int) -> Iterator[Line]:
    if more > 0:
        yield fitting(width, 2, [Part(f"and {count_text(more)} more", Tone.FAINT)])


def _what(fill: Fill, width: int) -> Line:
    parts = [
        Part(f"{harmless(fill.upstream)}/{harmless(fill.repository)}"),
        Part(_cut(fill.digest), Tone.FAINT),
    ]
    if fill.readers is not None:
        parts.append(Part(plural(fill.readers, "reader")))
    if fill.state != "running":
        parts.append(Part(harmless(fill.state), Tone.YELLOW))
    return fitting(width, 2, parts)


def _progress(fill: Fill, rate: float, width: int) -> Line:
    """The bar takes what the figures leave; where that is too little the figures stand alone."""
    figures = _figures(fill, rate)
    share = _share(fill)
    if share is None:
        return fitting(width, 4, figures)
    line = fitting(max(width - 4 - MIN_BAR - 4, 0), 0, figures)
    room = width - 4 - width_of(line) - 4
    if len(line) <= 1 or room < MIN_BAR:
        return fitting(width, 4, figures)
    return (Part("    "), *_bar(share, min(room, MAX_BAR)), Part("  "), *line)


def _share(fill: Fill) -> float | None:
    if fill.size_bytes is None:
        return None
    return min(fill.front_bytes / fill.size_bytes, 1.0) if fill.size_bytes else 1.0


def _bar(share: float, cells: int) -> Iterator[Part]:
    """``[####......]``, two columns more than ``cells``. Full only when all is there."""
    filled = int(share * cells)
    yield Part("[")
    yield Part("#" * filled, Tone.GREEN)
    yield Part("." * (cells - filled), Tone.FAINT)
    yield Part("]")


def _figures(fill: Fill, rate: float) -> list[Part]:
    """The most telling first, since the last are left out where it is narrow."""
    front = size_text(fill.front_bytes)
    if fill.size_bytes is None:
        return [Part(f"{front} of ?"), Part(rate_text(rate))]
    left = max(fill.size_bytes - fill.front_bytes, 0)
    percent = share_text(fill.size_bytes - left, fill.size_bytes) if fill.size_bytes else "100 %"
    parts = [Part(f"{percent:>5}"), Part(rate_text(rate)), *_remaining(fill, left, rate)]
    return [*parts, Part(f"{front} of {size_text(fill.size_bytes)}")]


def _remaining(fill: Fill, left_bytes: int, rate: float) -> list[Part]:
    if left_bytes == 0:
        return []
    if rate >= MIN_RATE:
        return [Part(f"{span_text(left_bytes / rate)} left")]
    return [Part("stands still", Tone.YELLOW)] if fill.front_bytes else []


def _sum(*amounts: int | None) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None


def _size(amount_bytes: int | None) -> str:
    return _NOTHING if amount_bytes is None else size_text(amount_bytes)


def _count(number: int | None) -> str:
    return _NOTHING if number is None else count_text(number)


def _span(seconds: float | None) -> str:
    return _NOTHING if seconds is None else span_text(seconds)
