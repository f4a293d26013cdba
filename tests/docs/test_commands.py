"""Every command in the docs is run, or says here why not; one that nobody knows fails."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import attrs
import pytest
import pytest_twisted

from tests.conftest import require_program
from tests.docs.blocks import Command, all_blocks, all_commands, blocks_in, commands_in
from tests.docs.world import World, has
from tests.overheard import overhear

pytestmark = pytest.mark.system


@attrs.frozen
class Run:
    """It ends with one of these codes."""

    codes: frozenset[int] = frozenset({0})


@attrs.frozen
class Begin:
    """It goes on for ever, and says this."""

    says: bytes


@attrs.frozen
class Not:
    """It is not run here."""

    because: str


CLIENTS = Not("tests/clients pulls with this program, in folders and mounts of its own")
SYSTEMD = Not("it needs systemd and root; tests/packaging/test_unit_file.py verifies the unit")
MAKE = Not("it makes an environment and installs into it; tests/packaging/test_makefile.py looks at it")

PLANS: tuple[tuple[str, Run | Begin | Not], ...] = (
    (r"make (run|test|bench|check|clean)\b.*", MAKE),
    (r"make demo( ARGS=--stay)?", Not("tests/testing/test_demo.py runs it, with --stay as well")),
    (r"(useradd|systemctl) .*", SYSTEMD),
    (r"install -.*", SYSTEMD),
    (r"openssl rand .*", Not("the group is the unit's; tests/test_secretfile.py reads such files")),
    (r"python3 -m venv .*pip install .*", Not("tests/packaging/test_installs.py installs it")),
    (r"\S+/pip install .*", Not("tests/packaging/test_installs.py installs it")),
    (r"journalctl .*", Run(frozenset({0, 1}))),  # 1: no journal on this machine
    (r"(docker|podman|buildah|ctr|oras|helm) .*", CLIENTS),
    (r"twistd .*regproxy.*", Begin(b" serves on ")),
    (r"regproxy purge .*", Run(frozenset({0, 7}))),  # 7: what came before it has left nothing there
    (r"regproxy (ls|du|unpin|pin|inspect|refresh)\b.*", Run(frozenset({0, 7}))),  # 7: nothing of it was there
    (r"regproxy explain .*", Run()),
    (r"regproxy (offline|online) .*", Run()),
    (r"(sudo -u regproxy )?regproxy import .*", Not("tests/system/test_moving.py moves in")),
    (r"regproxy export .*", Run(frozenset({0, 7, 8}))),  # what was not pulled here is not here
    (r"(watch|tail -f) .*", Not("it goes on for ever and shows a file or a command")),
    (r"regproxy status .*(--watch|-w|--interval)\b.*", Begin(b"regproxy")),
    (r"(regproxy|curl|skopeo|python3? -m json\.tool) ?.*", Run()),
)
"""The first that matches a whole command says what is done with it."""


def plan_for(command: str) -> Run | Begin | Not | None:
    return next((plan for pattern, plan in PLANS if re.fullmatch(pattern, command)), None)


COMMANDS = all_commands()


@pytest_twisted.async_yield_fixture
async def world(tmp_path) -> AsyncIterator[World]:
    made = World(tmp_path)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.where} {command.text[:40]}")
def test_each_command_is_known(command: Command) -> None:
    assert plan_for(command.text) is not None, f"{command.where}: nothing in PLANS knows: {command.text}"


async def test_each_command_does_what_it_should(world: World) -> None:
    """All of them with one daemon, in the order in which they are read."""
    failed, lacking = [], set()
    for command in COMMANDS:
        plan, program = plan_for(command.text), command.text.split(" ")[0]
        if isinstance(plan, Not) or plan is None:
            continue
        if not has(program):
            lacking.add(program)
        elif isinstance(plan, Begin):
            await world.begin(world.meant(command.text).replace("regproxy.yml", "second.yml"), plan.says)
        else:
            done = await world.run(world.meant(command.text))
            overhear(command.text, done.text)
            if done.code not in plan.codes or re.search(
                "unrecognized|unknown option|No such option", done.text
            ):
                failed.append(f"{command.where}: {command.text}\nended with {done.code}: {done.text[:2000]}")
    assert not failed, "\n".join(failed)
    for program in lacking:
        require_program(program)


def test_commands_are_found() -> None:
    """The extraction itself: prompts, continued lines, remarks, scripts; output is none."""
    page = "\n```console\n$ a \\\n    --b   # why\n# c\nd\n$ e # f\n```\n```sh\n# no\ng\n```\n```\n$ h\n```\n"
    blocks = list(blocks_in("p", page))
    assert [[command.text for command in commands_in(block)] for block in blocks[:2]] == [
        ["a --b", "c", "e"],
        ["g"],
    ]
    assert [command.where for command in commands_in(blocks[0])] == ["p:3", "p:5", "p:7"]
    assert [block.language for block in blocks] == ["console", "sh", ""]


def test_no_command_hides_in_a_block_without_a_language() -> None:
    for block in all_blocks():
        if block.language == "":
            assert not re.search(r"^[$#] ", block.text, re.MULTILINE), f"{block.page}:{block.line}"


def test_the_docs_have_commands_of_each_kind() -> None:
    """Or nothing would be tested."""
    plans = [plan_for(command.text) for command in COMMANDS]
    assert sum(isinstance(plan, Run) for plan in plans) >= 6
    assert any(isinstance(plan, Begin) for plan in plans)
    assert all(plan.because for plan in plans if isinstance(plan, Not))
