"""How an upstream stands, and what its rate limit leaves, as JSON: seconds from now in the place of times."""

from __future__ import annotations

import math

import attrs

from regproxy.interfaces import Allowance, Standing

MAX_REASON = 300


def circuit_document(standing: Standing, now_s: float) -> dict[str, object]:
    """``state`` is closed, half-open, open or offline; ``for_s`` how long it has been so; ``retry_s`` in how
    many seconds it is tried again."""
    return {
        "state": standing.circuit.name.lower().replace("_", "-"),
        "for_s": _since(standing.since_s, now_s),
        "reason": None if standing.reason is None else standing.reason[:MAX_REASON],
        "retry_s": _amount(standing.retry_s),
    }


def allowance_document(allowance: Allowance, now_s: float) -> dict[str, object]:
    """``thrift`` says how sparing the mirror is, free to empty; ``resets_s`` is in how many seconds there is
    more; all else as in :class:`Allowance`, null where nobody told, or where it is without an end."""
    told: dict[str, object] = {
        name: _amount(value) for name, value in attrs.asdict(allowance).items() if name != "thrift"
    }
    left_s = None if allowance.resets_s is None else max(0.0, allowance.resets_s - now_s)
    return {"thrift": allowance.thrift.name.lower(), **told, "resets_s": _amount(left_s)}


def _since(when_s: float | None, now_s: float) -> float | None:
    """A clock that was set back makes it no time at all."""
    return None if when_s is None else _amount(max(0.0, now_s - when_s))


def _amount(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else round(value, 3)
