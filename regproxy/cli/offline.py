"""``regproxy offline UPSTREAM`` and ``regproxy online UPSTREAM``: whether a running mirror asks it at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from regproxy.cli.asking import STRANGE, AskFailed
from regproxy.cli.ending import end, failures_told, show
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import order
from regproxy.cli.where import Where, pass_where

WAIT_S = 30.0
CODES = """
\b
Exit codes: 0 done (or would be), 1 the settings cannot be used, 2 no such upstream,
3 no daemon there, 4 not permitted, 5 what answers is not understood,
6 no answer in 30 s, 7 it was so already, 8 done, but a restart forgets it.
"""


def _verb(offline: bool, short: str, text: str) -> click.Command:
    @click.command("offline" if offline else "online", short_help=short, help=f"{text}\n{CODES}")
    @click.argument("upstream", metavar="UPSTREAM")
    @click.option("-n", "--dry-run", is_flag=True, help="Only say whether it would change anything.")
    @click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is, on one line.")
    @pass_where
    def verb(upstream: str, dry_run: bool, as_json: bool, where: Where) -> None:
        body = {"upstream": upstream, "offline": offline, "dry_run": dry_run}
        with failures_told():
            found = order(where.listeners(), "offline", body, where.token(), WAIT_S)
        show(found, as_json, told)
        end(found, bool(found.get("changed")))

    command: click.Command = verb
    return command


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """The answer for people. :exc:`AskFailed` when it is not understood."""
    flags = [found.get(name) for name in ("offline", "changed", "dry_run", "until_restart")]
    if not all(isinstance(flag, bool) for flag in flags):
        raise AskFailed("what came of it is not understood: it is of another version; see --json", STRANGE)
    offline, changed, dry_run, until_restart = flags
    name, word = harmless(str(found.get("upstream"))), "offline" if offline else "online"
    if not changed:
        yield f"{name}: it is {word} already"
    elif dry_run:
        yield f"{name}: would be {word}"
    else:
        meaning = "it is asked nothing, what is cached is served" if offline else "it is asked again"
        yield f"{name}: {word}, {meaning}"
    if until_restart:
        yield "  until the next start: the settings have it offline"


offline = _verb(
    True,
    "Have a running mirror ask an upstream nothing.",
    "Have a running mirror ask an upstream nothing, and serve what it has: during works on a line, or while "
    "an upstream does more harm than good. It stays so over restarts, until regproxy online.",
)
online = _verb(
    False,
    "Have a running mirror ask an upstream again.",
    "Have a running mirror ask an upstream again that was taken offline.",
)
