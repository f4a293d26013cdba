"""``regproxy ls``: the images that are cached, what they take and who uses them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from regproxy.cli.amounts import count_text, size_text, span_text
from regproxy.cli.ending import failures_told, nothing_is
from regproxy.cli.hand import Ask, by_hand, strange
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import NOTHING
from regproxy.cli.tables import table
from regproxy.cli.where import Where, pass_where

SORTS = ("name", "size", "used", "pulls", "bytes")
HEADS = ("IMAGE", "DIGEST", "SIZE", "USED", "PULLS", "SENT", "STATE")
PAGE = 500
MAX_PAGES = 2000


@click.command(short_help="The images that are cached, and who uses them.")
@click.argument("pattern", metavar="[PATTERN]", required=False)
@click.option("--sort", type=click.Choice(SORTS), default="name", help="What comes first [default: name].")
@click.option("--limit", type=click.IntRange(1, 1_000_000), help="Only so many.")
@click.option("--json", "as_json", is_flag=True, help="An object for each image, one on a line.")
@pass_where
def ls(pattern: str | None, sort: str, limit: int | None, as_json: bool, where: Where) -> None:
    """List cached images: all, those that PATTERN means (nginx:1.*, ghcr.io/team/**), or those that a digest
    is part of.

    SIZE is what the whole image takes on the disk; what images share counts for each, regproxy du counts it
    once. SENT is what clients were sent of it. STATE: whole or partial, pinned, and whether its tag is
    believed without asking (fresh).

    \b
    Exit codes: 0 listed, 1 the settings cannot be used, 2 no such pattern, 3 no daemon there and no folder,
    4 not permitted, 5 what answers is not understood, 6 no answer in 10 minutes, 7 there is none,
    8 the daemon could not do it.
    """
    images = by_hand(lambda ask: list(fetched(ask, pattern, sort, limit)), where)
    with failures_told():
        lines = map(json.dumps, images) if as_json else told(images, time.time())
        for line in lines:
            click.echo(line)
    if not images:
        click.echo(f"regproxy: {nothing_is(pattern)}", err=True)
    raise SystemExit(0 if images else NOTHING)


def fetched(ask: Ask, pattern: str | None, sort: str, limit: int | None) -> Iterator[Mapping[str, Any]]:
    """Page after page."""
    after, left = None, limit
    for _ in range(MAX_PAGES):
        count = PAGE if left is None else min(left, PAGE)
        body: dict[str, object] = {"sort": sort, "count": count}
        body |= {} if pattern is None else {"pattern": pattern}
        found = ask("ls", body if after is None else {**body, "after": after})
        images, after = found.get("images"), found.get("more")
        if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
            raise strange()
        yield from images
        left = None if left is None else left - len(images)
        if after is None or (left is not None and left <= 0):
            return


def told(images: Sequence[Mapping[str, Any]], now_s: float) -> Iterator[str]:
    """For people. :exc:`AskFailed` when it is not understood."""
    try:
        rows = [row(image, now_s) for image in images]
    except (KeyError, TypeError, ValueError):
        raise strange() from None
    if rows:
        yield from table(HEADS, rows, frozenset({2, 3, 4, 5}))


def row(image: Mapping[str, Any], now_s: float) -> tuple[str, ...]:
    """The cells of one image. KeyError, TypeError, ValueError."""
    digest = image["digest"]
    short = "-" if digest is None else harmless(str(digest)).partition(":")[2][:12]
    name = f"{image['repository']}{'' if image['tag'] is None else ':' + image['tag']}"
    return (
        harmless(name),
        short,
        size_text(int(image["size_bytes"])),
        span_text(max(0.0, now_s - float(image["used_s"]))),
        count_text(int(image["pulls"])),
        size_text(int(image["sent_bytes"])),
        state(image),
    )


def state(image: Mapping[str, Any]) -> str:
    """``whole pinned fresh``."""
    words = ["partial" if image["missing"] else "whole"]
    words += ["pinned"] if image["pinned"] else []
    words += [] if image.get("fresh") is None else ["fresh" if image["fresh"] else "stale"]
    return " ".join(words)
