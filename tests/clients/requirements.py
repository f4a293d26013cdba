"""What a client needs of the machine, beside its program."""

from __future__ import annotations

import importlib.util
import os

from tests.conftest import lacks, require_program


def require_root() -> None:
    """Skip for others than root, who alone may mount; under CI=true it fails."""
    for program in ("unshare", "nsenter"):
        require_program(program)
    if os.geteuid() != 0:
        lacks("needs root: containers are mounted and run")


def require_module(name: str, distribution: str) -> None:
    """Skip without the Python module ``name``; under CI=true it fails."""
    if importlib.util.find_spec(name) is None:
        lacks(f"needs {name}: pip install {distribution}")
