"""What takes the disk: each byte once in all, and shared ones told apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.eviction.holdings import Holdings, Tagged, Thing
from regproxy.inventory.images import Wanted
from regproxy.inventory.sums import Share, sums
from regproxy.oci.images import ImagePattern


def thing(repository: str, digest: str, size: int) -> Thing:
    return Thing(repository, digest, False, 0.0, 0, size)


def test_what_others_hold_too_is_shared() -> None:
    things = [thing("a/x", "1", 10), thing("a/x", "2", 5), thing("a/y", "1", 10), thing("b/x", "2", 5)]
    found = sums(Holdings(0.0, things, [Tagged("a/x", "t", "1", 0.0, 0)]))
    assert found.disk_bytes == 15
    assert found.upstreams == (Share("a", 10, 5, 2, 1), Share("b", 0, 5, 1, 0))
    assert found.repositories == (
        Share("a/x", 0, 15, 2, 1),
        Share("a/y", 0, 10, 1, 0),
        Share("b/x", 0, 5, 1, 0),
    )


def test_a_pattern_leaves_out_repositories_but_not_what_they_share() -> None:
    things = [thing("a.io/x", "1", 10), thing("a.io/y", "1", 10), thing("b.io/z", "2", 7)]
    found = sums(Holdings(0.0, things), Wanted(ImagePattern.parse("a.io/x")))
    assert found.repositories == (Share("a.io/x", 0, 10, 1, 0),)
    assert (found.disk_bytes, [share.name for share in found.upstreams]) == (10, ["a.io"])


@given(
    st.lists(
        st.tuples(st.sampled_from(["a/x", "a/y", "b/x", "b/z"]), st.integers(0, 5)), unique=True, max_size=20
    )
)
def test_own_bytes_are_those_that_go_with_it(held: list[tuple[str, int]]) -> None:
    things = [thing(name, str(number), 1 << number) for name, number in held]
    found = sums(Holdings(0.0, things))
    for level, cut in ((found.repositories, 2), (found.upstreams, 1)):

        def place(name: str, cut: int = cut) -> str:
            return "/".join(name.split("/")[:cut])

        for share in level:
            mine = {number for name, number in held if place(name) == share.name}
            others = {number for name, number in held if place(name) != share.name}
            assert share.own_bytes == sum(1 << number for number in mine - others)
            assert share.shared_bytes == sum(1 << number for number in mine & others)
    assert found.disk_bytes == sum(1 << number for number in {number for _, number in held})
