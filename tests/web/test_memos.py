"""What is remembered between requests is bounded, whatever clients ask for."""

from __future__ import annotations

from regproxy.web import api
from regproxy.web.routing import MAX_KNOWN, MAX_KNOWN_BYTES, Routes
from tests.web.doubles import UPSTREAMS


def routes() -> Routes:
    return Routes(UPSTREAMS)


def test_targets_are_forgotten_in_time() -> None:
    made = routes()
    for number in range(MAX_KNOWN + 10):
        made.find(b"/v2/a/manifests/%d" % number, b"")
    assert len(made._known) <= MAX_KNOWN


def test_long_targets_are_not_remembered() -> None:
    made = routes()
    made.find(b"/v2/a/manifests/1", b"x=" + b"y" * MAX_KNOWN_BYTES)
    assert not made._known


def test_heads_of_answers_are_forgotten_in_time() -> None:
    assert api._hit_block.cache_info().maxsize == api.MAX_BLOCKS
