"""How an upstream stands, and what its rate limit leaves, as clauses for people. Pure."""

from __future__ import annotations

from regproxy.cli.amounts import count_text, span_text
from regproxy.cli.document import Allowance, Circuit
from regproxy.cli.lines import harmless

_THRIFT = {
    "longer": "running low: tags are believed longer",
    "stale": "nearly used up: what is cached is served as it is",
    "empty": "used up: only what costs nothing is asked",
}


def circuit_text(circuit: Circuit) -> str:
    """``open for 2 min: it refuses connections; tried again in 3 s``; ``""`` of an older daemon."""
    if circuit.state is None:
        return ""
    why = "" if circuit.reason is None else f": {harmless(circuit.reason)}"
    again = "" if circuit.retry_s is None else f"; tried again in {span_text(circuit.retry_s)}"
    return f"{lasting_text(circuit)}{why}{again}"


def lasting_text(circuit: Circuit) -> str:
    """``offline for 3 s``."""
    lasting = "" if circuit.for_s is None else f" for {span_text(circuit.for_s)}"
    return f"{harmless(circuit.state or '')}{lasting}"


def allowance_clauses(allowance: Allowance) -> list[str]:
    """``12 of 100 left in 6h``, ``more in 2h``, ``running low: ...``; none where nothing is known."""
    words = []
    if allowance.remaining is not None:
        limit = "" if allowance.limit is None else f" of {count_text(allowance.limit)}"
        window = "" if allowance.window_s is None else f" in {span_text(allowance.window_s)}"
        words.append(f"{count_text(allowance.remaining)}{limit} left{window}")
    if allowance.hours_left is not None:
        words.append(f"enough for {span_text(allowance.hours_left * 3600)}")
    if allowance.resets_s is not None:
        words.append(f"more in {span_text(allowance.resets_s)}")
    if allowance.retry_after_s is not None:
        words.append(f"asked again in {span_text(allowance.retry_after_s)}")
    if allowance.thrift in _THRIFT:
        words.append(_THRIFT[allowance.thrift])
    return words
