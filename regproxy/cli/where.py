"""Which daemon a verb asks: its options, and the settings that say it otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import click

from regproxy.cli.addresses import Address, addresses, parse_address
from regproxy.cli.asking import NOBODY, AskFailed
from regproxy.cli.lines import harmless
from regproxy.config import ConfigError, load
from regproxy.config.errors import Unfit
from regproxy.errors import SecretUnusable
from regproxy.secretfile import read_secret
from regproxy.settings import Settings


def _address(context: click.Context, parameter: click.Parameter, text: str | None) -> Address | None:
    try:
        return None if text is None else parse_address(text)
    except Unfit as wrong:
        raise click.BadParameter(str(wrong)) from None


admin_option = click.option(
    "--admin",
    callback=_address,
    metavar="WHERE",
    help="http://HOST:PORT, a socket's path, or unix:PATH, tcp:PORT.",
)
config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Whose admin listener to ask [default: $REGPROXY_CONFIG, else the built-in settings'].",
)
token_option = click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The operators' token, for a listener on TCP [default: the settings' admin_token_file].",
)


def usable_settings(config: Path | None) -> Settings:
    """The settings of ``config``, $REGPROXY_CONFIG or built in; exit code 1 where they cannot be used."""
    path = config or os.environ.get("REGPROXY_CONFIG") or None
    try:
        return load(Path(path) if path else None, os.environ)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise SystemExit(1) from None


def listeners(admin: Address | None, config: Path | None) -> tuple[Address, ...]:
    """Where to ask: ``admin`` alone, else the settings' listeners. :exc:`AskFailed` where there is none."""
    if admin is not None:
        return (admin,)
    found = addresses(usable_settings(config), os.environ)
    if not found:
        raise AskFailed(
            "the settings name no admin listener that can be asked from here: say --admin", NOBODY
        )
    return found


def operators_token(written: Path | None, admin: Address | None, config: Path | None) -> str | None:
    """The token, where one is named; a file of the settings that only the daemon may read is no fault."""
    if written is not None:
        try:
            return read_secret(written).decode("ascii")
        except SecretUnusable as error:
            click.echo(f"regproxy: --token-file {harmless(str(error))}", err=True)
            raise SystemExit(1) from None
    if admin is not None and config is None:
        return None
    named = usable_settings(config).admin_token_file
    try:
        return None if named is None else read_secret(named).decode("ascii")
    except SecretUnusable:
        return None
