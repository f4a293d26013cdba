"""What keeps CI honest: about missing programs, and about errors that a module leaves behind."""

from __future__ import annotations

import gc

import pytest
from twisted.internet.defer import Deferred, fail

from tests.conftest import LoggedFailures, keep_what_is_left, require_program


def test_a_program_that_is_there_is_named_by_its_path() -> None:
    assert require_program("sh").is_file()


def test_a_missing_program_skips_outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require_program("no-such-program")


def test_a_missing_program_fails_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        require_program("no-such-program")


def test_what_a_module_left_is_not_kept_unseen(logged_failures: LoggedFailures) -> None:
    gc.disable()
    try:
        left: list[object] = []
        failed: Deferred[None] = fail(ValueError("left behind"))
        left += [failed, left]
        del failed, left
        with pytest.raises(AssertionError, match="left behind"):
            keep_what_is_left()
    finally:
        gc.enable()
    assert logged_failures.flush(ValueError)


def test_what_is_left_is_not_looked_through_again() -> None:
    left = [[] for _ in range(10)]
    keep_what_is_left()
    seen = {id(one) for one in gc.get_objects()}
    assert not seen & {id(one) for one in left}
