"""``/readyz``: whether clients should be sent here, and why not."""

from __future__ import annotations

import json

import pytest

from regproxy.admin.health import healthz, readyz
from tests.admin.asking import STRANGER, ask


def pages(reasons: list[str], warnings: list[str] | None = None) -> dict[str, object]:
    return {"/readyz": readyz(lambda: reasons, lambda: warnings or [])}


def test_ready() -> None:
    status, headers, body = ask(pages([]), b"/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready"})
    assert headers["Content-Type"].startswith("application/json")
    assert headers["Cache-Control"] == "no-store"


def test_not_ready_says_why() -> None:
    status, _, body = ask(pages(["it is starting", "the disk is full"]), b"/readyz")
    assert status == 503
    assert json.loads(body) == {"status": "not ready", "reasons": ["it is starting", "the disk is full"]}


@pytest.mark.parametrize(("reasons", "code"), [([], 200), (["it is stopping"], 503)])
def test_warnings_change_nothing(reasons: list[str], code: int) -> None:
    status, _, body = ask(pages(reasons, ["no upstream answers"]), b"/readyz")
    assert status == code
    assert json.loads(body)["warnings"] == ["no upstream answers"]


def test_it_is_asked_anew_each_time() -> None:
    reasons: list[str] = []
    table = pages(reasons)
    assert ask(table, b"/readyz")[0] == 200
    reasons.append("it is stopping")
    assert ask(table, b"/readyz")[0] == 503
    reasons.clear()
    assert ask(table, b"/readyz")[0] == 200


def test_head_tells_by_status_alone() -> None:
    status, headers, body = ask(pages(["x"]), b"/readyz", b"HEAD")
    assert (status, body) == (503, b"")
    assert int(headers["Content-Length"]) == len(ask(pages(["x"]), b"/readyz")[2])


def test_a_stranger_is_told_nothing() -> None:
    status, _, body = ask(pages(["the disk is full"]), b"/readyz", peer=STRANGER)
    assert status == 403
    assert b"disk" not in body


def test_health_needs_no_readiness() -> None:
    table = pages(["it is starting"]) | {"/healthz": healthz(lambda: {"version": "1"})}
    assert ask(table, b"/healthz")[0] == 200
