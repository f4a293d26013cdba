"""No test can see whether the disk was flushed, and a busy disk takes seconds for it."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
