"""``regproxy`` for people: a verb a file."""

from __future__ import annotations

import io
import sys

import click

from regproxy import __version__
from regproxy.cli.check import check
from regproxy.cli.giving import give
from regproxy.cli.purge import purge
from regproxy.cli.status import status
from regproxy.cli.taking import take


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="regproxy")
def main() -> None:
    """A pull-through mirror for container registries. The daemon is: twistd regproxy."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


main.add_command(check)
main.add_command(give)
main.add_command(purge)
main.add_command(status)
main.add_command(take)
