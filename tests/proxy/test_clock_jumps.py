"""A wall clock that was ahead for a moment: what is confirmed after it has the date that is right again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.interfaces import Circuit, How, Standing
from regproxy.proxy.freshness import confirmed_s
from tests.proxy.test_policy import Ruled
from tests.proxy.world import Seen

YEAR_S = 365 * 86_400.0
TIMES = st.floats(0, 4e9)


class Jumped(Ruled):
    """Its clock was a year ahead when its tag was confirmed, and is right again."""

    def __init__(self) -> None:
        super().__init__()
        self.clock.rightNow += YEAR_S
        assert self.get().result.how is How.REVALIDATED
        assert self.listed().result.how is How.MISS
        self.clock.rightNow -= YEAR_S

    def listed(self) -> Seen:
        return Seen(self.proxy.tags.list(self.app))


def test_a_tag_is_fresh_again_after_one_question() -> None:
    world = Jumped()
    assert world.get().result.how is How.REVALIDATED
    world.remote.script.calls.clear()
    assert world.get().result.how is How.HIT
    assert world.at_hand() is not None
    assert world.operations == []


def test_and_is_there_in_an_outage() -> None:
    world = Jumped()
    world.get()
    world.clock.advance(600)
    world.remote.stands = Standing(Circuit.OPEN, 999_000.0, "it refuses connections", 7.5)
    assert world.get().result.how is How.STALE


def test_a_list_of_tags_too() -> None:
    world = Jumped()
    assert world.listed().result.how is How.MISS
    assert world.listed().result.how is How.HIT


def test_what_was_confirmed_before_a_revocation_is_void_whatever_the_clock_says() -> None:
    world = Jumped()
    world.get()
    world.store.revoke(world.app)
    assert world.at_hand() is None
    world.remote.script.calls.clear()
    world.get()
    assert world.operations[0].startswith("tags.")


@given(TIMES, TIMES, TIMES)
def test_the_date_is_after_the_last_revocation_and_never_ahead_without_need(
    stamp_s: float, now_s: float, revoked_s: float
) -> None:
    if stamp_s <= revoked_s:
        return
    found = confirmed_s(stamp_s, now_s, revoked_s)
    assert revoked_s < found <= stamp_s
    assert found <= now_s or now_s <= revoked_s
