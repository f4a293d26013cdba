"""``regproxy pin`` and ``regproxy unpin``: images that stay, however old they are and short the space is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from regproxy.cli.amounts import plural, size_text
from regproxy.cli.hand import Ask, by_hand, strange
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import NOTHING
from regproxy.cli.where import Where, pass_where


@click.command(short_help="Keep images, however old they are and short the space is.")
@click.argument("images", metavar="PATTERN...", nargs=-1)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be kept.")
@click.option("--json", "as_json", is_flag=True, help="An object for each pattern, one on a line.")
@pass_where
def pin(images: tuple[str, ...], dry_run: bool, as_json: bool, where: Where) -> None:
    """Pin images, over restarts: docker.io/library/nginx:1.*, ghcr.io/team/**, nginx@sha256:... What is
    pinned stays with all that it needs; nothing is fetched for it. Without PATTERN: the list of pins.

    \b
    Exit codes: 0 done (or would be), 1 the settings cannot be used, 2 no such pattern, 3 no daemon there and
    no folder, 4 not permitted, 5 what answers is not understood, 6 no answer in 10 minutes, 7 it was so
    already, 8 it could not be done.
    """
    if not images:
        _each([("pins", {})], as_json, where)
    _each([("pin", {"image": image, "dry_run": dry_run}) for image in images], as_json, where)


@click.command(short_help="Let pinned images go like all others.")
@click.argument("images", metavar="PATTERN...", nargs=-1, required=True)
@click.option("-n", "--dry-run", is_flag=True, help="Only say whether it would change anything.")
@click.option("--json", "as_json", is_flag=True, help="An object for each pattern, one on a line.")
@pass_where
def unpin(images: tuple[str, ...], dry_run: bool, as_json: bool, where: Where) -> None:
    """Take pins away, each written as regproxy pin lists it. Those of the settings are taken away there.

    \b
    Exit codes: as of regproxy pin; 7 it was not pinned by hand.
    """
    _each([("unpin", {"image": image, "dry_run": dry_run}) for image in images], as_json, where)


def _each(orders: Sequence[tuple[str, Mapping[str, object]]], as_json: bool, where: Where) -> None:
    def talk(ask: Ask) -> list[dict[str, Any]]:
        answers = []
        for action, body in orders:
            found = ask(action, body)
            for line in [json.dumps(found)] if as_json else told(found):
                click.echo(line)
            answers.append(found)
        return answers

    answers = by_hand(talk, where)
    done = any(found.get("changed") or "pins" in found for found in answers)
    raise SystemExit(0 if done else NOTHING)


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """For people. :exc:`AskFailed` when it is not understood."""
    try:
        yield from map(harmless, _lines(found))
    except (KeyError, TypeError, ValueError):
        raise strange() from None


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    if found["action"] == "pins":
        for one in found["pins"]:
            yield f"{one['image']}{'  (settings)' if one['written'] else ''}"
        if found["count"] > len(found["pins"]):
            yield f"... and {found['count'] - len(found['pins'])} more"
        return
    image, changed, dry_run = found["image"], found["changed"], found["dry_run"]
    word = "pinned" if found["action"] == "pin" else "unpinned"
    if changed:
        yield f"{image}: {'would be ' if dry_run else ''}{word}"
    elif found.get("written") and word == "unpinned":
        yield f"{image}: the settings pin it (pins); take it away there"
    else:
        already = "pinned already" if found["action"] == "pin" else "not pinned by hand"
        yield f"{image}: it is {already}"
    if "images" in found:
        keeps = f"{plural(int(found['images']), 'image')}, {size_text(int(found['size_bytes']))}"
        yield f"  keeps {keeps} as things are; what comes later is kept too"
