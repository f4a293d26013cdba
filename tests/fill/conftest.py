"""Fixtures for all tests of fills."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fill.ranged import Small


@pytest.fixture
def small() -> Iterator[None]:
    """Sizes of several connections that a test can look at."""
    with Small():
        yield
