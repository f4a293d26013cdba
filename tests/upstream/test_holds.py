"""What was just refused is not asked again for a while, and nothing else is held back by it."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from regproxy.errors import UpstreamDown, UpstreamError, UpstreamRefused, UpstreamUnreachable
from regproxy.upstream.circuit import LONGEST_WAIT_S
from regproxy.upstream.holds import MAX_HOLDS, TRIAL_S, Holds

UP = "registry.test"
REFUSED = UpstreamRefused(UP, "it refuses our credentials", "/etc/secret")
REFUSED.status = 401


def holds(patience: int = 1) -> tuple[Clock, Holds[str]]:
    clock = Clock()
    return clock, Holds(clock, patience, share=lambda: 0.0)


def test_a_refusal_counts_for_a_while_then_one_call_tries() -> None:
    clock, held = holds()
    assert held.refusal("a") is None
    held.refused("a", REFUSED)
    found = held.refusal("a")
    assert isinstance(found, UpstreamRefused)
    assert (found.status, found.inner) == (401, "/etc/secret")
    assert held.refusal("b") is None, "that is another scope"
    clock.advance(1)
    assert held.refusal("a") is None, "one tries"
    assert held.refusal("a") is not None, "the others wait for what comes of it"
    held.granted("a")
    assert held.refusal("a") is None


def test_a_trial_of_which_nothing_was_heard_is_followed_by_another() -> None:
    clock, held = holds()
    held.refused("a", REFUSED)
    clock.advance(LONGEST_WAIT_S)
    assert held.refusal("a") is None
    clock.advance(TRIAL_S)
    assert held.refusal("a") is None


def test_each_refusal_more_makes_it_longer_up_to_a_limit() -> None:
    clock, held = holds()
    waits = []
    for _ in range(8):
        held.refused("a", REFUSED)
        waited = 0.0
        while held.refusal("a") is not None:
            clock.advance(0.5)
            waited += 0.5
        waits.append(waited)
    assert waits == [1.0, 2.0, 4.0, 8.0, 14.0, 14.0, 14.0, 14.0]


def test_another_credential_is_not_held_back() -> None:
    _, held = holds()
    held.refused("a", REFUSED, who="old")
    assert held.refusal("a", lambda: "old") is not None
    assert held.refusal("a", lambda: "new") is None
    assert held.refusal("a", lambda: "old") is None, "what is known is of the one before"


def test_with_patience_it_takes_refusals_about_several_things() -> None:
    """One repository that it may not pull says nothing of a credential."""
    _, held = holds(patience=3)
    for _ in range(10):
        held.refused("a", REFUSED, about="team/app")
    held.refused("a", REFUSED, about="team/other")
    assert held.refusal("a") is None
    held.granted("a")
    held.refused("a", REFUSED, about="x")
    assert held.refusal("a") is None, "one that was granted in between ends the row"
    for about in ("y", "z"):
        held.refused("a", REFUSED, about=about)
    assert held.refusal("a") is not None


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (REFUSED, UpstreamRefused),
        (UpstreamUnreachable(UP, "refuses connections"), UpstreamDown),
    ],
)
def test_what_is_said_again(error: UpstreamError, again: type[UpstreamError]) -> None:
    """An error of its own, since each is raised with a traceback."""
    _, held = holds()
    held.refused("a", error)
    found = held.refusal("a")
    assert type(found) is again
    assert found is not error
    assert error.reason in found.reason


def test_they_are_bounded() -> None:
    _, held = holds()
    for number in range(2 * MAX_HOLDS):
        held.refused(str(number), REFUSED)
    assert len(held) == MAX_HOLDS
    assert held.refusal("0") is None
