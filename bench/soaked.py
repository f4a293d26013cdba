"""What a soak gave, and how it is told."""

from __future__ import annotations

from collections import Counter

import attrs

from bench.flawed import Fault
from bench.limit import MIB
from bench.verdicts import Failure, Look, Stop, cause, inexcusable, longest_life, trends, wrongs

COUNTED = {
    'regproxy_expired_total{kind="blob"}': "blobs expired",
    'regproxy_evicted_total{kind="image",setting="max_size"}': "images evicted",
}
BAD_BLOBS = 8
"""How ``regproxy scrub --now`` ends where it found any."""


@attrs.define
class Outcome:
    """What a soak gave."""

    limit_bytes: int
    minutes: float = 0.0
    pulls: list[Failure] = attrs.field(factory=list)
    """Of all pulls, which content when; those that came well have status 200."""
    pulled_bytes: int = 0
    sent_bytes: int = 0
    stops: list[Stop] = attrs.field(factory=list)
    faults: list[Fault] = attrs.field(factory=list)
    looks: list[Look] = attrs.field(factory=list)
    tracebacks: int = 0
    counts: Counter[str] = attrs.field(factory=Counter)
    """What the daemon counted, of ``COUNTED``, over all lives."""
    scrubs: list[int | None] = attrs.field(factory=list)
    """How each full pass ended: 0 well, None or others when the daemon was stopped meanwhile."""

    @property
    def failures(self) -> list[Failure]:
        """The pulls that failed."""
        return [each for each in self.pulls if each.status != 200]

    def wrongs(self) -> list[str]:
        """What should not be; empty: it holds."""
        found = wrongs(self.failures, self.faults, self.stops, self.looks, self.limit_bytes)
        if self.tracebacks:
            found.append(f"the logs have {self.tracebacks} tracebacks")
        found += [f"no {what}: nothing was shown" for what in COUNTED.values() if not self.counts[what]]
        if BAD_BLOBS in self.scrubs:
            found.append("a scrub found bad blobs")
        return found


def text_of(outcome: Outcome) -> str:
    """The table, in Markdown."""
    causes = Counter(cause(one, outcome.faults, outcome.stops) or "the mirror" for one in outcome.failures)
    strict = sum(inexcusable(one, outcome.faults, outcome.stops) for one in outcome.pulls)
    stops = Counter(one.signal for one in outcome.stops)
    longest = longest_life(outcome.looks)
    faults = Counter(one.kind for one in outcome.faults)
    hit = 1 - outcome.sent_bytes / max(1, outcome.pulled_bytes)
    rows = [
        ("minutes", f"{outcome.minutes:.1f}"),
        ("pulls", f"{len(outcome.pulls):,}"),
        ("pulled, MiB", f"{outcome.pulled_bytes / MIB:,.0f}"),
        ("of these from the upstream, MiB", f"{outcome.sent_bytes / MIB:,.0f} (here: {hit:.0%})"),
        ("the upstream failed", _counts(faults)),
        ("kills and stops", _counts(stops)),
        ("failed pulls that these made", _counts(causes)),
        ("pulls that had no excuse", f"{strict:,}"),
        ("**failed pulls that neither made**", f"**{causes['the mirror']}**"),
        ("removed", _counts(outcome.counts)),
        ("limit, MiB", f"{outcome.limit_bytes / MIB:.1f}"),
        ("most on the disk, MiB", f"{max(look.held_bytes for look in outcome.looks) / MIB:.1f}"),
        ("most in flight, MiB", f"{max(look.in_flight_bytes for look in outcome.looks) / MIB:.1f}"),
        ("longest life, minutes", f"{(longest[-1].at_s - longest[0].at_s) / 60:.1f}"),
    ]
    if len(longest) >= 4:
        rows += [
            (f"its {what}, second and last quarter", f"{before:.1f}, {after:.1f}")
            for what, (before, after) in trends(outcome.looks).items()
        ]
    well = sum(code == 0 for code in outcome.scrubs)
    rows.append(("full scrubs, of these without a bad blob", f"{len(outcome.scrubs)}, {well}"))
    rows.append(("looks", f"{len(outcome.looks):,}"))
    rows.append(("tracebacks in the logs", str(outcome.tracebacks)))
    return "\n".join(
        ["| what | figure |", "| --- | ---: |", *(f"| {what} | {figure} |" for what, figure in rows)]
    )


def _counts(counts: Counter[str]) -> str:
    parts = (f"{count:,} {what}" for what, count in counts.most_common() if what != "the mirror")
    return ", ".join(parts) or "none"
