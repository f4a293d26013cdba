"""How an upstream stands, as JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.admin.standings import allowance_document, circuit_document
from regproxy.interfaces import Allowance, Circuit, Standing, Thrift


@pytest.mark.parametrize(
    ("circuit", "word"),
    [
        (Circuit.CLOSED, "closed"),
        (Circuit.HALF_OPEN, "half-open"),
        (Circuit.OPEN, "open"),
        (Circuit.OFFLINE, "offline"),
    ],
)
def test_each_state_is_a_word(circuit: Circuit, word: str) -> None:
    assert circuit_document(Standing(circuit), 0.0)["state"] == word


def test_times_are_told_from_now_on() -> None:
    told = circuit_document(Standing(Circuit.OPEN, 100.0, "it hangs", 2.5), 160.25)
    assert told == {"state": "open", "for_s": 60.25, "reason": "it hangs", "retry_s": 2.5}
    assert circuit_document(Standing(Circuit.OPEN, 200.0), 160.0)["for_s"] == 0.0, "a clock was set back"
    assert allowance_document(Allowance(resets_s=200.0), 160.0)["resets_s"] == 40.0
    assert allowance_document(Allowance(resets_s=100.0), 160.0)["resets_s"] == 0.0


def test_what_is_left_is_told() -> None:
    told = allowance_document(Allowance(Thrift.STALE, 100, 3, 21600.0), 0.0)
    assert (told["thrift"], told["limit"], told["remaining"], told["window_s"]) == ("stale", 100, 3, 21600.0)
    assert told["resets_s"] is None


@given(st.none() | st.floats(), st.none() | st.text(), st.none() | st.floats(), st.floats(0, 1e12))
def test_anything_is_json_of_numbers(
    since_s: float | None, reason: str | None, retry_s: float | None, now_s: float
) -> None:
    """No NaN and no infinity, which JSON has not got."""
    told = circuit_document(Standing(Circuit.OPEN, since_s, reason, retry_s), now_s)
    json.dumps(told, allow_nan=False)
    json.dumps(allowance_document(Allowance(window_s=since_s, resets_s=retry_s), now_s), allow_nan=False)
