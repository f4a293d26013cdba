"""The fenced blocks of README.md and docs/, and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
SHELLS = frozenset({"console", "sh", "bash", "shell"})
_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Block:
    """What stands between two fences; ``line`` is that of its first line."""

    page: str
    line: int
    language: str
    text: str


@attrs.frozen
class Command:
    """One command, its continued lines joined; ``where`` is file and line."""

    where: str
    text: str


def blocks_in(page: str, text: str) -> Iterator[Block]:
    """Every fenced block of a page."""
    for found in _FENCE.finditer(text):
        yield Block(page, text[: found.start()].count("\n") + 2, found[1], found[2])


def commands_in(block: Block) -> Iterator[Command]:
    """In a console what follows a prompt, ``$`` or root's ``#``; in a script every line."""
    lines = iter(enumerate(block.text.splitlines(), block.line))
    for number, line in lines:
        if block.language == "console":
            prompt, _, command = line.partition(" ")
            if prompt not in {"$", "#"}:
                continue
        else:
            command = line
        while command.endswith("\\"):
            command = f"{command[:-1].rstrip()} {next(lines)[1].strip()}"
        command = re.sub(r"\s+#\s.*$", "", command).strip()
        if command and not command.startswith("#"):
            yield Command(f"{block.page}:{number}", command)


def all_blocks() -> list[Block]:
    """Those of all pages."""
    return [
        block for path in PAGES for block in blocks_in(str(path.relative_to(ROOT)), path.read_text("utf-8"))
    ]


def all_commands() -> list[Command]:
    """Those of all pages."""
    return [command for block in all_blocks() if block.language in SHELLS for command in commands_in(block)]
