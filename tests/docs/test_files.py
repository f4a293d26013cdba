"""The files that the docs show: settings that the daemon takes, and what tests/clients pulls with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from regproxy.config import load
from regproxy.testing.certificates import self_signed
from tests.clients.containerd import BY_NAMESPACE, BY_PATH, BY_PREFIX
from tests.clients.containers import mirrors
from tests.clients.docker import Dockerd
from tests.docs.blocks import PAGES, ROOT, Block, all_blocks

BLOCKS = all_blocks()


def of_language(language: str) -> list[Any]:
    return [pytest.param(b, id=f"{b.page}:{b.line}") for b in BLOCKS if b.language == language]


@pytest.mark.parametrize("block", of_language("yaml"))
def test_settings_can_be_used(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "regproxy.yml"
    files = dict(
        zip(
            ("/etc/ssl/corp.pem", "/etc/regproxy/corp.key"),
            self_signed().write(tmp_path, "corp"),
            strict=True,
        )
    )
    files["/etc/regproxy/corp.crt"] = files["/etc/ssl/corp.pem"]
    users = tmp_path / "htpasswd"
    users.touch()
    files["/etc/regproxy/htpasswd"] = users
    text = block.text
    for shown, real in files.items():
        text = text.replace(shown, str(real))
    path.write_text(text)
    load(path, {})


@pytest.mark.parametrize("block", [p for p in of_language("json") if "mirrors" in p.values[0].text])
def test_dockers_settings_are_those_that_are_pulled_with(block: Block) -> None:
    shown = json.loads(block.text)
    used = Dockerd(Path("/x"), _NoContainerd(), "http://mirror.example:5000")._settings()
    assert shown["registry-mirrors"] == used["registry-mirrors"]
    assert set(shown) <= set(used)


class _NoContainerd:
    socket = Path("/x/sock")


def tables(text: str) -> list[list[str]]:
    """TOML as its tables: their heads and lines, without indentation and empty lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found: list[list[str]] = []
    for line in lines:
        if line.startswith("[") or not found:
            found.append([])
        found[-1].append(line)
    return found


@pytest.mark.parametrize("block", of_language("toml"))
def test_toml_is_what_tests_pull_with(block: Block) -> None:
    """Addresses apart; where nobody listens in the tests stands the registry itself in the docs."""
    names = {"netloc": "mirror.example:5000", "nowhere": "upstream", "upstream": "ghcr.io"}
    if "[host." in block.text:
        used = [form.format(**names) for form in (BY_NAMESPACE, BY_PATH, BY_PREFIX)]
        assert tables(block.text) in [tables(text)[1:] for text in used]
    elif "[[registry" in block.text:
        hub, mirror = tables(mirrors(names["netloc"], names["nowhere"], ["docker.io"]))[1:]
        head = [line for line in hub if line != "insecure = true"]
        both = [line.replace('"upstream"', '"docker.io"') for line in head], mirror
        assert tables(block.text.replace("ghcr.io", "docker.io")) in [[*both], [*both, *both]]
    else:
        assert "config_path" in block.text, "the way to the files above: Kubernetes' plugin is not here"


def test_what_is_linked_is_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
