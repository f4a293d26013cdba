"""``regproxy status``: what a running daemon does now, asked at its admin listener."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import click

from regproxy.cli.addresses import Address
from regproxy.cli.asking import ask
from regproxy.cli.ending import failures_told
from regproxy.cli.screen import InPlace, Plain, is_terminal, wants_colours
from regproxy.cli.watching import JsonLines, Pictures, keep_watching
from regproxy.cli.where import Where, admin_option, config_option

INTERVAL_S = 1.0
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 86_400.0


def _interval(context: click.Context, parameter: click.Parameter, seconds: float | None) -> float | None:
    if seconds is not None and not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:  # NaN is neither
        raise click.BadParameter("expected a number of seconds, 0.1 to 86400")
    return seconds


@click.command(short_help="What a running daemon does now.")
@click.option("-w", "--watch", is_flag=True, help="Again every second, in place, until Ctrl-C.")
@click.option(
    "--interval", type=float, callback=_interval, metavar="SECONDS", help="How often; implies --watch."
)
@click.option("--json", "as_json", is_flag=True, help="The document as it is, on one line.")
@admin_option
@config_option
def status(
    watch: bool, interval: float | None, as_json: bool, admin: Address | None, config: Path | None
) -> None:
    """Show what a running daemon does: its cache, its upstreams, the fills in flight.

    \b
    Exit codes: 0 shown, 1 the settings cannot be used, 3 no daemon there,
    4 not permitted, 5 what answers is not understood, 6 no answer in 5 s.
    """
    repeated = watch or interval is not None
    show = JsonLines(sys.stdout, sys.stderr) if as_json else _pictures(sys.stdout, repeated)
    try:
        with failures_told():
            asked = Where(admin, config).listeners()
            if repeated:
                keep_watching(lambda: ask(asked), show, interval or INTERVAL_S, time.monotonic, time.sleep)
            else:
                show.document(ask(asked))
    except OSError as error:
        if error.errno == errno.EPIPE:  # who read it has seen enough
            raise
        click.echo(f"regproxy: standard output cannot be written: {error.strerror}", err=True)
        raise SystemExit(1) from None


def _pictures(stream: TextIO, repeated: bool) -> Pictures:
    colours = wants_colours(stream, os.environ)
    in_place = repeated and is_terminal(stream, os.environ)
    surface = InPlace(stream, colours) if in_place else Plain(stream, colours)
    return Pictures(stream, surface, os.environ)
