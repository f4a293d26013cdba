"""What an answer's headers say of a rate limit, in whichever of the forms registries use (R91).

============================== =========================================================
Docker Hub                     ``ratelimit-limit: 100;w=21600``, ``ratelimit-remaining: 76;w=21600``,
                               ``docker-ratelimit-source: <who is counted>``
IETF draft, first form         the same, ``RateLimit-Reset: 50``, several policies in a list
IETF draft, second form        ``RateLimit: limit=100, remaining=50, reset=5``
IETF draft, structured fields  ``RateLimit: "default";r=50;t=30``, ``RateLimit-Policy: "default";q=100;w=60``
GitHub and others              ``x-ratelimit-limit``, ``-remaining``, ``-reset`` (seconds, or a date as
                               seconds since the epoch)
============================== =========================================================

Of several policies that with the least left counts, of those that are more than a brake on bursts. What is
malformed, negative or contradicts itself is not there; every number is bounded. Pure, never raises, linear in
a bounded length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

import attrs

MAX_COUNT = 1_000_000_000
MAX_WINDOW_S = 31 * 86_400
"""A month: nobody counts for longer, and what is believed ends then at the latest."""
BURST_S = 60
"""A limit over a shorter window is a brake: its 429s say when, and nothing is to be saved up."""
MAX_HEADERS = 8
MAX_LENGTH = 1024
"""Of all values of one header together."""
MAX_ITEMS = 16
MAX_SOURCE_LENGTH = 128

_NUMBER = re.compile(r"([0-9]{1,40})(?:\.[0-9]{0,40})?", re.ASCII)
_EPOCH_S, _EPOCH_MS = 100_000_000, 100_000_000_000
"""From here on a reset is a date: in seconds, in milliseconds."""

Headers = Callable[[str], Iterable[str]]
"""All values of a header, by its name."""


@attrs.frozen(slots=True)
class LimitReport:
    """What one answer says. Counts are requests; None: it does not say.

    ``window_s`` is how long the limit counts for, ``reset_s`` in how many seconds there is more.
    ``source``: who is counted, as Docker Hub says it (an address or an account).
    """

    limit: int | None = None
    remaining: int | None = None
    window_s: int | None = None
    reset_s: int | None = None
    source: str | None = attrs.field(default=None, repr=False)

    @property
    def is_brake(self) -> bool:
        """Whether it is one on bursts alone."""
        return self.window_s is not None and self.window_s < BURST_S


@attrs.frozen(slots=True)
class _Item:
    """A member of a list: its bare value, and its parameters, all in lower case."""

    value: str
    parameters: Mapping[str, str]

    def number(self, name: str, most: int) -> int | None:
        return _number(self.parameters.get(name), most)


def read_limits(headers: Headers, wall_s: float) -> LimitReport | None:
    """What the answer says at ``wall_s`` (epoch); None where it says nothing of use."""
    for read in (_combined, _separate, _prefixed):
        found = _sound(read(headers, wall_s))
        if found is not None:
            source = next(iter(headers("docker-ratelimit-source")), "").strip()[:MAX_SOURCE_LENGTH]
            return attrs.evolve(found, source=source or None)
    return None


def _sound(found: LimitReport) -> LimitReport | None:
    """A limit of none at all is no limit; there is never more left than it allows."""
    found = attrs.evolve(found, window_s=found.window_s or None)
    limit, remaining = found.limit or None, found.remaining
    if remaining is None or (found.limit == 0 and remaining > 0):
        return None if limit is None else attrs.evolve(found, remaining=None)
    if limit is not None:
        remaining = min(remaining, limit)
    return attrs.evolve(found, limit=limit, remaining=remaining)


def _combined(headers: Headers, wall_s: float) -> LimitReport:
    """``RateLimit``, of either form."""
    items = list(_items(headers("ratelimit")))
    policies = list(_items(headers("ratelimit-policy")))
    pairs = {name.strip(): value.strip() for name, mark, value in _pairs(items) if mark}
    if "remaining" in pairs:
        return LimitReport(
            _number(pairs.get("limit"), MAX_COUNT),
            _number(pairs["remaining"], MAX_COUNT),
            next((each.number("w", MAX_WINDOW_S) for each in policies), None),
            _reset(pairs.get("reset"), wall_s),
        )
    least = _least(items, lambda item: item.number("r", MAX_COUNT))
    if least is None:
        return LimitReport()
    policy = next((each for each in policies if each.value == least.value), _Item("", {}))
    return LimitReport(
        policy.number("q", MAX_COUNT),
        least.number("r", MAX_COUNT),
        policy.number("w", MAX_WINDOW_S),
        _reset(least.parameters.get("t"), wall_s),
    )


def _pairs(items: Iterable[_Item]) -> Iterator[tuple[str, str, str]]:
    return (item.value.partition("=") for item in items)


def _separate(headers: Headers, wall_s: float) -> LimitReport:
    """``RateLimit-Limit``, ``-Remaining``, ``-Reset``, with windows and without."""
    return _three(headers, "ratelimit", wall_s)


def _prefixed(headers: Headers, wall_s: float) -> LimitReport:
    """The same names with ``X-``."""
    return _three(headers, "x-ratelimit", wall_s)


def _three(headers: Headers, prefix: str, wall_s: float) -> LimitReport:
    limits = list(_items(headers(f"{prefix}-limit")))
    told = list(_items(headers(f"{prefix}-remaining")))
    saved = [item for item in told if (item.number("w", MAX_WINDOW_S) or BURST_S) >= BURST_S]
    left = _least(saved or told, lambda item: _number(item.value, MAX_COUNT))
    window_s = None if left is None else left.number("w", MAX_WINDOW_S)
    same = [item for item in limits if item.number("w", MAX_WINDOW_S) == window_s]
    limit = next(iter(same or limits), _Item("", {}))
    window_s = window_s or limit.number("w", MAX_WINDOW_S)
    if window_s is None:  # the first member may be the bare limit, the policies behind it
        window_s = next((found for item in limits if (found := item.number("w", MAX_WINDOW_S))), None)
    return LimitReport(
        _number(limit.value, MAX_COUNT),
        None if left is None else _number(left.value, MAX_COUNT),
        window_s,
        _reset(next(iter(headers(f"{prefix}-reset")), None), wall_s),
    )


def _least(items: Iterable[_Item], number: Callable[[_Item], int | None]) -> _Item | None:
    """The item that has the least, of those that have a number."""
    known = [(found, at, item) for at, item in enumerate(items) if (found := number(item)) is not None]
    return min(known)[2] if known else None


def _items(values: Iterable[str]) -> Iterator[_Item]:
    text = ",".join(islice(values, MAX_HEADERS))[:MAX_LENGTH].lower()
    for member in text.split(",")[:MAX_ITEMS]:
        value, *parameters = member.split(";")[:MAX_ITEMS]
        pairs = (parameter.partition("=") for parameter in parameters)
        named = {name.strip(): number.strip() for name, _, number in pairs}
        yield _Item(value.strip().strip('"'), named)


def _number(text: str | None, most: int) -> int | None:
    """A number that is not negative, ``most`` where it is larger; a fraction is dropped."""
    match = _NUMBER.fullmatch((text or "").strip())
    return None if match is None else min(int(match[1]), most)


def _reset(text: str | None, wall_s: float) -> int | None:
    """Seconds from now: what a reset says in seconds, or as a date since the epoch."""
    found = _number(text, 10**15)
    if found is None:
        return None
    if found >= _EPOCH_MS:
        found //= 1000
    if found >= _EPOCH_S:
        found = max(0, round(found - wall_s))
    return min(found, MAX_WINDOW_S)
