"""The helper that keeps CI honest about missing programs."""

from __future__ import annotations

import pytest

from tests.conftest import require_program


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
