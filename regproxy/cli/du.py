"""``regproxy du``: what takes the disk, by upstream and repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from regproxy.cli.amounts import count_text, plural, size_text
from regproxy.cli.ending import nothing_is, show
from regproxy.cli.hand import by_hand, strange
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import NOTHING
from regproxy.cli.tables import table
from regproxy.cli.where import Where, pass_where

HEADS = ("", "OWN", "SHARED", "BLOBS", "TAGS")
SHOWN = 40


@click.command(short_help="What takes the disk, by upstream and repository.")
@click.argument("repositories", metavar="[PATTERN]", required=False)
@click.option("--all", "everything", is_flag=True, help=f"All repositories, not only the largest {SHOWN}.")
@click.option("--json", "as_json", is_flag=True, help="The answer as it is, on one line.")
@pass_where
def du(repositories: str | None, everything: bool, as_json: bool, where: Where) -> None:
    """Show what cached content takes, in blocks of the disk.

    OWN is what nobody else holds, and what goes with it; SHARED is held by others too.

    \b
    Exit codes: 0 shown, 1 the settings cannot be used, 2 no such pattern, 3 no daemon there and no folder,
    4 not permitted, 5 what answers is not understood, 6 no answer in 10 minutes, 7 there is none,
    8 it could not be done.
    """
    body = {} if repositories is None else {"pattern": repositories}
    found = by_hand(lambda ask: ask("du", body), where)
    show(found, as_json, lambda found: told(found, everything))
    if not found.get("count"):
        click.echo(f"regproxy: {nothing_is(repositories)}", err=True)
        raise SystemExit(NOTHING)


def told(found: Mapping[str, Any], everything: bool) -> Iterator[str]:
    """For people. :exc:`AskFailed` when it is not understood."""
    try:
        upstreams = [_cells(each) for each in found["upstreams"]]
        repositories = [_cells(each) for each in found["repositories"]]
        total, count = int(found["disk_bytes"]), int(found["count"])
    except (KeyError, TypeError, ValueError):
        raise strange() from None
    if not count:
        return
    shown = repositories if everything else repositories[:SHOWN]
    right = frozenset({1, 2, 3, 4})
    yield from table(("UPSTREAM", *HEADS[1:]), upstreams, right)
    yield ""
    yield from table(("REPOSITORY", *HEADS[1:]), shown, right)
    if count > len(shown):
        yield f"and {plural(count - len(shown), 'smaller repository')}"
    yield ""
    yield f"{size_text(total)} in all, each blob counted once"


def _cells(share: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        harmless(str(share["name"])),
        size_text(int(share["own_bytes"])),
        size_text(int(share["shared_bytes"])),
        count_text(int(share["things"])),
        count_text(int(share["tags"])),
    )
