"""Stores and registries that are closed after each test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted

from tests.contracts.stores import Disk
from tests.contracts.upstreams import SocketUpstream


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can see whether the disk was flushed, and a busy disk takes seconds for it."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)


@pytest_twisted.async_yield_fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    made = Disk(tmp_path / "store")
    yield made
    await made.close()


@pytest_twisted.async_yield_fixture
async def socket_upstream() -> AsyncIterator[SocketUpstream]:
    made = SocketUpstream()
    await made.start()
    yield made
    await made.close()
