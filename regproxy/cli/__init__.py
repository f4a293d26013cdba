"""``regproxy`` for people: a verb a file."""

from __future__ import annotations

import io
import sys

import click

from regproxy import __version__
from regproxy.cli.check import check
from regproxy.cli.du import du
from regproxy.cli.explain import explain
from regproxy.cli.giving import give
from regproxy.cli.inspect import inspect
from regproxy.cli.ls import ls
from regproxy.cli.offline import offline, online
from regproxy.cli.pin import pin, unpin
from regproxy.cli.purge import purge
from regproxy.cli.scrub import scrub
from regproxy.cli.status import status
from regproxy.cli.taking import take
from regproxy.cli.warm import refresh, warm


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="regproxy")
def main() -> None:
    """A pull-through mirror for container registries. The daemon is: twistd regproxy."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


main.add_command(check)
main.add_command(du)
main.add_command(explain)
main.add_command(inspect)
main.add_command(ls)
main.add_command(offline)
main.add_command(online)
main.add_command(pin)
main.add_command(give)
main.add_command(purge)
main.add_command(refresh)
main.add_command(scrub)
main.add_command(status)
main.add_command(take)
main.add_command(unpin)
main.add_command(warm)
