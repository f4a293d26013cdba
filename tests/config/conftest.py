"""Settings from texts, for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from regproxy.config import ConfigError, load
from regproxy.settings import Settings

Load = Callable[[str], Settings]
Faults = Callable[[str], list[str]]


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    return tmp_path / "regproxy.yml"


@pytest.fixture
def read(settings_file: Path) -> Load:
    """Settings from a text, without any environment."""

    def read(text: str) -> Settings:
        settings_file.write_text(text, "utf-8")
        return load(settings_file, {})

    return read


@pytest.fixture
def faults(read: Load, settings_file: Path) -> Faults:
    """The lines that a text is refused with, the file's name cut to ``f``."""

    def faults(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(text)
        return [str(problem).replace(str(settings_file), "f") for problem in caught.value.problems]

    return faults
