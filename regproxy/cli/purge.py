"""``regproxy purge IMAGE``: takes content away, by the running daemon, or where none runs from its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from regproxy.cli.amounts import plural, size_text
from regproxy.cli.asking import STRANGE, AskFailed
from regproxy.cli.ending import end, show
from regproxy.cli.hand import by_hand
from regproxy.cli.lines import harmless
from regproxy.cli.where import Where, pass_where


@click.command(short_help="Take images away.")
@click.argument("image", metavar="IMAGE[:TAG|@DIGEST]|PATTERN|DIGEST")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is, on one line.")
@pass_where
def purge(image: str, dry_run: bool, as_json: bool, where: Where) -> None:
    """Take a tag, a manifest by its digest, or without either a whole repository away; with * and ? all that
    PATTERN means (nginx:1.*, ghcr.io/team/**), with DIGEST alone what every repository holds of it.

    With a tag goes what it names, with a digest the tags that name it; both take what nothing else in
    the repository names. Bytes go when no repository holds them. What is pinned goes too; its pin stays in
    the list. The next pull fetches it anew. Where no daemon runs it is done here, under the lock of the
    folder.

    \b
    Exit codes: 0 it went (or would go), 1 the settings cannot be used, 2 no such name,
    3 no daemon there and no folder, 4 not permitted, 5 what answers is not understood,
    6 no answer in 10 minutes, 7 nothing of it was there, 8 not all of it could be done,
    130 interrupted.
    """
    body = {"image": image, "dry_run": dry_run}
    found = by_hand(lambda ask: ask("purge", body), where)
    show(found, as_json, told)
    end(found, any(found.get(name) for name in ("tags", "manifests", "blobs")))


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """The answer for people. :exc:`AskFailed` when it is not understood."""
    amounts: dict[str, int] = {name: found.get(name, -1) for name in _AMOUNTS}
    if any(type(amount) is not int or amount < 0 for amount in amounts.values()):
        raise AskFailed("what came of it is not understood: it is of another version; see --json", STRANGE)
    image = harmless(str(found.get("image")))
    counts = [(amounts["tags"], "tag"), (amounts["manifests"], "manifest"), (amounts["blobs"], "blob")]
    went = [plural(number, word) for number, word in counts if number]
    if not went:
        yield f"{image}: nothing of it {'has gone' if 'error' in found else 'is here'}"
        return
    gone, freed = ("would go", "would be freed") if found.get("dry_run") else ("gone", "freed")
    yield f"{image}: {', '.join(went)} {gone}, {size_text(amounts['freed_bytes'])} {freed}"
    if amounts["shared_bytes"]:
        yield f"  {size_text(amounts['shared_bytes'])} stay, since other repositories hold them"
    if amounts["later_bytes"]:
        yield f"  {size_text(amounts['later_bytes'])} go later, after the survey or a transfer that runs"


_AMOUNTS = ("tags", "manifests", "blobs", "freed_bytes", "shared_bytes", "later_bytes")
