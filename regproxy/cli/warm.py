"""``regproxy warm`` and ``regproxy refresh``: images fetched before anybody asks, tags asked about now."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import click

from regproxy.cli.amounts import plural
from regproxy.cli.asking import AskFailed
from regproxy.cli.bars import picture, summary
from regproxy.cli.hand import Ask, by_hand, strange
from regproxy.cli.interruption import interruptible
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import FAILED, NOTHING, REFUSED
from regproxy.cli.screen import InPlace, is_terminal, size_of, wants_colours
from regproxy.cli.where import Where, pass_where

POLL_S = 0.5
PLAIN_EVERY_S = 10.0
BATCH = 200
BATCH_BYTES = 40_000
MAX_LINES = 100_000
MAX_LINE = 2000


@click.command(short_help="Fetch images before anybody asks for them.")
@click.argument("images", metavar="IMAGE...", nargs=-1)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH[/VARIANT]",
    help="Of an index, which images [default: that of the mirror's machine]; all for all of them.",
)
@click.option("--from", "source", type=click.File("r"), metavar="FILE", help="An image a line; - is stdin.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be asked for.")
@click.option("--json", "as_json", is_flag=True, help="What came of it, an object for each job on a line.")
@pass_where
def warm(
    images: tuple[str, ...],
    platforms: tuple[str, ...],
    source: Any,
    dry_run: bool,
    as_json: bool,
    where: Where,
) -> None:
    """Fetch IMAGEs as a client would, each whole: tag, manifests, configs and layers. What is here already
    is not fetched; without tag and digest latest is meant.

    Upstreams are asked within their rate limits: one whose limit is nearly used up is left to clients, and
    its images are told as failed. Ctrl-C ends it; what has come stays. Where no daemon runs it is done here.

    \b
    Exit codes: 0 all is here, 1 the settings cannot be used, 2 no such name, 3 no daemon there and no folder,
    4 not permitted, 5 what answers is not understood, 6 no answer in time, 8 not all of it could be had,
    130 interrupted.
    """
    names = [*images, *read_names(source)]
    if not names:
        told = "name an image, or a file of them with --from"
        raise click.UsageError(told if source is None else "the file of --from names no image")
    body: dict[str, object] = {"dry_run": dry_run, **({"platforms": list(platforms)} if platforms else {})}
    orders = [{**body, "images": batch} for batch in batches(names)]
    _run("warm", orders, as_json, where)


@click.command(short_help="Ask now whether cached tags have moved.")
@click.argument("images", metavar="PATTERN...", nargs=-1, required=True)
@click.option("-n", "--dry-run", is_flag=True, help="Only say which tags would be asked about.")
@click.option("--json", "as_json", is_flag=True, help="What came of it, on one line.")
@pass_where
def refresh(images: tuple[str, ...], dry_run: bool, as_json: bool, where: Where) -> None:
    """Have cached tags confirmed, fresh or not: docker.io/library/nginx:1.*, ghcr.io/team/**. A tag that has
    moved is fetched, for the platforms that were here.

    Each costs its upstream a HEAD; 20 at once, then one in 3 s. Ctrl-C ends it.

    \b
    Exit codes: as of regproxy warm; 7 no such tag is cached.
    """
    orders: list[dict[str, object]] = [
        {"images": batch, "dry_run": dry_run} for batch in batches(list(images))
    ]
    _run("refresh", orders, as_json, where)


def read_names(source: Any) -> list[str]:
    """The names in a file, a line each; empty lines and those that begin with # are for people."""
    if source is None:
        return []
    lines: list[str] = []
    try:
        while line := source.readline(MAX_LINE):
            if len(lines) == MAX_LINES or len(line) == MAX_LINE:
                raise click.UsageError(
                    f"the file of --from has more than {MAX_LINES} lines, or one of {MAX_LINE} signs"
                )
            lines.append(line.strip())
    except UnicodeDecodeError:
        raise click.UsageError("the file of --from is no text") from None
    return [line for line in lines if line and not line.startswith("#")]


def batches(names: Sequence[str]) -> Iterator[list[str]]:
    """As many at once as one question may hold."""
    batch: list[str] = []
    size = 0
    for name in names:
        if batch and (len(batch) >= BATCH or size + len(name) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += len(json.dumps(name)) + 2
    if batch:
        yield batch


def _run(action: str, orders: Sequence[Mapping[str, object]], as_json: bool, where: Where) -> None:
    def talk(ask: Ask) -> list[dict[str, Any]]:
        if action == "warm" and len(orders) > 1:
            check(ask, orders)
        found = []
        for order in orders:
            show = Show(as_json)
            found.append(follow(ask, ask(action, order), show.step, time.sleep))
            show.end(found[-1])
        return found

    fetches = not any(order["dry_run"] for order in orders)  # else what is over max_size would go for it
    with interruptible():  # a job that nobody looks at any more would go on in the daemon
        answers = by_hand(talk, where, fetches=fetches)
    if any(answer.get("failed") or answer.get("state") in ("broken", "cancelled") for answer in answers):
        raise SystemExit(FAILED)
    raise SystemExit(0 if any(answer.get("count") or answer.get("images") for answer in answers) else NOTHING)


def check(ask: Ask, orders: Sequence[Mapping[str, Any]]) -> None:
    """A name that is none is told before hours of fetching, not between. :exc:`AskFailed`."""
    before = 0
    for order in orders:
        after = before + len(order["images"])
        try:
            ask("warm", {**order, "dry_run": True})
        except AskFailed as error:
            if error.code != REFUSED:
                raise
            raise AskFailed(f"of names {before + 1} to {after}, {error}", REFUSED) from None
        before = after


def follow(
    ask: Ask,
    begun: dict[str, Any],
    step: Callable[[Mapping[str, Any]], None],
    sleep: Callable[[float], None],
) -> dict[str, Any]:
    """What has come of the job that ``begun`` tells of, when it is over; an interrupt ends the job too."""
    number = begun.get("job")
    if number is None:
        return begun
    try:
        while True:
            found = ask("job", {"job": number})
            if found.get("state") != "running":
                return found
            step(found)
            sleep(POLL_S)
    except KeyboardInterrupt:
        ask("job", {"job": number, "cancel": True})
        raise


class Show:
    """Bars on a terminal, else a line now and then."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._colours = wants_colours(sys.stderr, os.environ)
        in_place = not as_json and is_terminal(sys.stderr, os.environ)
        self._surface = InPlace(sys.stderr, self._colours) if in_place else None
        self._told_s = time.monotonic()
        self._done = 0

    def step(self, found: Mapping[str, Any]) -> None:
        """It runs."""
        if self._json:
            return
        try:
            if self._surface is not None:
                width, height = size_of(sys.stderr, os.environ)
                self._surface.show(list(picture(found, width)), height)
                return
            ended = int(found["done"]) + int(found["failed"])
            now_s = time.monotonic()
            if ended > self._done or now_s - self._told_s >= PLAIN_EVERY_S:
                self._done, self._told_s = ended, now_s
                click.echo(summary(found), err=True)
        except (KeyError, TypeError, ValueError):
            raise strange() from None

    def end(self, found: Mapping[str, Any]) -> None:
        """It is over, or there was nothing to do."""
        if self._json:
            click.echo(json.dumps(found))
            return
        try:
            self._tell(found)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            raise strange() from None

    def _tell(self, found: Mapping[str, Any]) -> None:
        if found.get("job") is None:
            for name in found.get("listed", []):
                click.echo(f"  {harmless(str(name))}")
            word = "would be asked for" if found.get("dry_run") else "are meant"
            click.echo(f"{plural(int(found.get('count', 0)), 'image')} {word}")
            return
        for failure in found.get("failures", []):
            click.echo(
                f"regproxy: {harmless(str(failure['image']))}: {harmless(str(failure['why']))}", err=True
            )
        click.echo(summary(found))
