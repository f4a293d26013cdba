"""What a client needs of the machine, beside its program."""

from __future__ import annotations

import importlib.util
import os

import pytest

from tests.conftest import require_program


def _lacking(what: str) -> None:
    if os.environ.get("CI", "").lower() in {"", "0", "false"}:
        pytest.skip(what)
    pytest.fail(what)


def require_root() -> None:
    """Skip for others than root, who alone may mount; under CI=true it fails."""
    for program in ("unshare", "nsenter"):
        require_program(program)
    if os.geteuid() != 0:
        _lacking("needs root: containers are mounted and run")


def require_module(name: str, distribution: str) -> None:
    """Skip without the Python module ``name``; under CI=true it fails."""
    if importlib.util.find_spec(name) is None:
        _lacking(f"needs {name}: pip install {distribution}")
