"""What is frozen is alive."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from regproxy.expiry.freezing import freeze


class Circle:
    """Dead, only the garbage collector lets go of it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def no_pass_by_itself() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def test_what_is_dead_is_let_go_of() -> None:
    gone = weakref.ref(Circle())
    assert gone() is not None
    freeze()
    assert gone() is None


def test_what_is_alive_is_not_looked_through_any_more() -> None:
    """That it was frozen shows when it has died."""
    stays = Circle()
    there = weakref.ref(stays)
    freeze()
    del stays
    gc.collect()
    assert there() is not None
