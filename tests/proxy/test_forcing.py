"""How often clients may have fresh tags confirmed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.proxy.forcing import BURST, EACH_S, REFILL_S, Forcing

APP = Repository.parse("registry.test", "team/app")


def tag(number: int) -> Tag:
    return Tag(f"t{number}")


def test_one_tag_once_in_a_while() -> None:
    forcing = Forcing()
    assert forcing.admits(APP, tag(1), 100)
    assert not forcing.admits(APP, tag(1), 100 + EACH_S - 0.1)
    assert forcing.admits(Repository.parse("registry.test", "b"), tag(1), 101)
    assert forcing.admits(APP, tag(1), 100 + EACH_S)


def test_so_many_at_once_and_then_one_after_the_other() -> None:
    forcing = Forcing()
    admitted = [forcing.admits(APP, tag(number), 5) for number in range(100)]
    assert admitted == [True] * BURST + [False] * (100 - BURST)
    assert not forcing.admits(APP, tag(200), 5 + REFILL_S - 0.1)
    assert forcing.admits(APP, tag(200), 5 + REFILL_S)
    assert not forcing.admits(APP, tag(201), 5 + REFILL_S)


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 5)), max_size=300))
def test_never_more_than_the_numbers_say(asked: list[tuple[int, float]]) -> None:
    forcing, now_s = Forcing(), 1000.0
    admitted: list[tuple[float, int]] = []
    for number, later_s in asked:
        now_s += later_s
        if forcing.admits(APP, tag(number), now_s):
            admitted.append((now_s, number))
        assert len(forcing._admitted) <= BURST + EACH_S / REFILL_S + 1, (
            "its memory is bounded by its own limit"
        )
    for index, (first_s, number) in enumerate(admitted):
        until = [(when, which) for when, which in admitted[index:] if when <= first_s + 60]
        assert len(until) <= BURST + 60 / REFILL_S + 1
        assert all(when >= first_s + EACH_S for when, which in until[1:] if which == number)
