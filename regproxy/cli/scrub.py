"""``regproxy scrub``: how far hashing everything again is, or a pass over everything, now."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import click

from regproxy.cli.addresses import Address
from regproxy.cli.amounts import plural, share_text, size_text, span_text
from regproxy.cli.asking import ASK_S, NOBODY, STRANGE, AskFailed, ask
from regproxy.cli.audit import note
from regproxy.cli.document import Scrub, Unreadable, read_scrub
from regproxy.cli.ending import failures_told
from regproxy.cli.lines import Line, Part, Tone, harmless, line
from regproxy.cli.ordering import FAILED, order
from regproxy.cli.screen import InPlace, Plain, is_terminal, size_of, wants_colours
from regproxy.cli.where import Where, pass_where
from regproxy.errors import StorageFailed
from regproxy.settings import Settings

POLL_S = 1.0
PLAIN_EVERY_S = 10.0
MAX_SILENCE_S = 60.0
"""A daemon that is started anew meanwhile is waited for so long."""
BAR = 30
SHOWN = 10


@click.command(short_help="Hash everything on disk again, or show how far that is.")
@click.option("--now", is_flag=True, help="Begin a pass over everything, at full pace, and follow it.")
@click.option("--json", "as_json", is_flag=True, help="What there is to tell, on one line.")
@pass_where
def scrub(now: bool, as_json: bool, where: Where) -> None:
    """Show how far the scrub is, its last pass and what it found; or hash every blob again, now.

    A running daemon does it, and goes on if this is interrupted. Where none runs it is done here, under
    the lock of the folder; what is interrupted goes on with the next --now, or with the daemon.

    \b
    Exit codes: 0 done (and nothing bad was found by --now), 1 the settings cannot be used,
    3 no daemon there, and no folder, 4 not permitted, 5 what answers is not understood,
    6 no answer in time, 8 bad blobs were found, or the folder cannot be used.
    """
    show = Show(as_json)
    try:
        with failures_told():
            found = _scrubbed(show, now, where)
    except StorageFailed as error:
        click.echo(f"regproxy: {harmless(str(error))}", err=True)
        raise SystemExit(FAILED) from None
    except KeyboardInterrupt:
        click.echo(
            "regproxy: interrupted; a pass that was begun goes on in the daemon, if one runs", err=True
        )
        raise SystemExit(130) from None
    show.end(found)
    bad = found.get("last") or {}
    raise SystemExit(FAILED if now and bad.get("bad") else 0)


def _scrubbed(show: Show, now: bool, where: Where) -> Mapping[str, Any]:
    """The scrub as it is, or as it was when the pass had ended."""
    try:
        asked = where.listeners()
        if not now:
            return _section(asked)
        order(asked, "scrub", {}, where.token(), ASK_S)
    except AskFailed as error:
        if error.code != NOBODY or where.admin is not None:
            raise
        return _halted(show, now, where.settings(), error)
    return follow(lambda: _section(asked), show.step, time.monotonic, time.sleep)


def follow(
    look: Callable[[], Mapping[str, Any]],
    step: Callable[[Mapping[str, Any]], None],
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> Mapping[str, Any]:
    """Look until the pass that was asked for is over. :exc:`AskFailed` when nobody answers for a while."""
    heard_s = monotonic()
    while True:
        try:
            found = look()
        except AskFailed:
            if monotonic() - heard_s > MAX_SILENCE_S:
                raise
        else:
            heard_s = monotonic()
            if not found.get("full"):
                return found
            step(found)
        sleep(POLL_S)


def _section(asked: Sequence[Address]) -> Mapping[str, Any]:
    found = ask(asked).get("scrub")
    if not isinstance(found, dict):
        raise AskFailed("what answers there knows of no scrub: it is another version", STRANGE)
    return found


def _halted(show: Show, now: bool, settings: Settings, error: AskFailed) -> Mapping[str, Any]:
    """Without a daemon, under the lock of its folder."""
    from regproxy import halted  # for those who need it

    root = settings.storage.root
    if not (root / "VERSION").exists():
        raise AskFailed(f"{error}, and there is no storage folder {root}", NOBODY)

    def section(share: float | None, record: Any) -> dict[str, Any]:
        running = record.full or record.usual
        return {
            "every_s": settings.scrub.every_s,
            "full": record.full is not None,
            "share": share,
            "blobs": 0 if running is None else running.blobs,
            "bytes": 0 if running is None else running.bytes,
            "bad": 0 if running is None else running.bad,
            "last": None if record.last is None else attrs.asdict(record.last),
            "found": [{"digest": str(b.digest), "found_s": b.found_s, "why": b.why} for b in record.bad],
            "surveyed_s": record.surveyed_s,
        }

    if not now:
        return section(None, halted.record_of(root))
    found: Mapping[str, Any] = {}
    with halted.taken(root) as folder:
        for share, record in halted.scrub_all(folder, time.time):
            found = section(share, record)
            show.step(found)
    last = found.get("last") or {}
    note("scrub", "everything", f"{last.get('blobs', 0)} blobs, {last.get('bad', 0)} bad")
    return found


class Show:
    """What is told while it runs, and at the end."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        colours = wants_colours(sys.stdout, os.environ)
        self._in_place = not as_json and is_terminal(sys.stdout, os.environ)
        self._surface = InPlace(sys.stdout, colours) if self._in_place else Plain(sys.stdout, colours)
        self._shown_s = float("-inf")

    def step(self, found: Mapping[str, Any]) -> None:
        """It runs."""
        now_s = time.monotonic()
        if self._json or now_s - self._shown_s < (POLL_S / 5 if self._in_place else PLAIN_EVERY_S):
            return
        self._shown_s = now_s
        width, height = size_of(sys.stdout, os.environ)
        self._surface.show([progress(_read(found), width)], height)

    def end(self, found: Mapping[str, Any]) -> None:
        """It is over, or was only looked at."""
        if self._json:
            click.echo(json.dumps(found))
            return
        _, height = size_of(sys.stdout, os.environ)
        self._surface.show(list(picture(_read(found), time.time())), height)


def _read(found: Mapping[str, Any]) -> Scrub:
    try:
        read = read_scrub({"scrub": found})
    except Unreadable as error:
        raise AskFailed(str(error), STRANGE) from None
    assert read is not None
    return read


def progress(scrub: Scrub, width: int) -> Line:
    """The bar of a pass, and what it has found."""
    share = scrub.share or 0.0
    cells = max(5, min(BAR, width - 50))
    filled = int(share * cells)
    return line(
        "[",
        Part("#" * filled, Tone.GREEN),
        Part("." * (cells - filled), Tone.FAINT),
        f"]  {share_text(share, 1.0)}  {plural(scrub.blobs, 'blob')}, {size_text(scrub.bytes)}  ",
        Part(f"{scrub.bad} bad", Tone.RED if scrub.bad else Tone.PLAIN),
    )


def picture(scrub: Scrub, now_s: float) -> Iterator[Line]:
    """How far it is, how the last pass ended, the last bad ones."""
    every = "only when asked for" if scrub.every_s is None else f"every {span_text(scrub.every_s)}"
    what = "a pass that was asked for" if scrub.full else every
    if scrub.share is not None:
        done = f"{share_text(scrub.share, 1.0)} done, {plural(scrub.blobs, 'blob')}, {size_text(scrub.bytes)}"
        what += f": {done}, {scrub.bad} bad"
    yield line(f"scrub   {what}")
    last = scrub.last
    if last is None:
        yield line("last    none has ended yet")
    else:
        bad = Part(f"{last.bad or 0} bad", Tone.RED if last.bad else Tone.GREEN)
        amount = f"{plural(last.blobs or 0, 'blob')}, {size_text(last.bytes or 0)}, "
        yield line(f"last    ended {_ago(last.ended_s, now_s)}: {amount}", bad)
    yield line(f"survey  ended {_ago(scrub.surveyed_s, now_s)}")
    for bad_one in reversed(scrub.found[-SHOWN:]):
        told = f"{harmless(bad_one.digest)} {harmless(bad_one.why)}, {_ago(bad_one.found_s, now_s)}"
        yield line(Part(f"bad     {told}", Tone.YELLOW))


def _ago(at_s: float | None, now_s: float) -> str:
    return "never" if at_s is None else f"{span_text(max(0.0, now_s - at_s))} ago"
