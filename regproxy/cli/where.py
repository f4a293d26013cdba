"""Which daemon a verb asks: its options, and the settings that say it otherwise."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from regproxy.cli.addresses import Address, addresses, parse_address
from regproxy.cli.asking import NOBODY, AskFailed
from regproxy.cli.lines import harmless
from regproxy.config import ConfigError, load
from regproxy.config.errors import Unfit
from regproxy.errors import SecretUnusable
from regproxy.secretfile import read_secret
from regproxy.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


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


def _config_option(whose: str) -> Callable[[F], F]:
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"{whose} [default: $REGPROXY_CONFIG, else the built-in settings'].",
    )


config_option = _config_option("Whose admin listener to ask")
folder_option = _config_option("Whose storage folder and upstreams are meant")
_token_option = click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The operators' token, for a listener on TCP [default: the settings' admin_token_file; "
    "beside --admin those of --config only].",
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


@attrs.frozen
class Where:
    """What was said of the daemon to ask, and of the settings that say the rest."""

    admin: Address | None
    config: Path | None
    token_file: Path | None = None

    def settings(self) -> Settings:
        """As :func:`usable_settings`."""
        return usable_settings(self.config)

    def listeners(self) -> tuple[Address, ...]:
        """Where to ask: ``admin`` alone, else the settings'. :exc:`AskFailed` where there is none."""
        if self.admin is not None:
            return (self.admin,)
        found = addresses(self.settings(), os.environ)
        if not found:
            raise AskFailed(
                "the settings name no admin listener that can be asked from here: say --admin", NOBODY
            )
        return found

    def token(self) -> str | None:
        """The operators' token, where one is named; exit code 1 where ``token_file`` cannot be read.

        A file of the settings that only the daemon may read is no fault.
        """
        if self.token_file is not None:
            try:
                return read_secret(self.token_file).decode("ascii")
            except SecretUnusable as error:
                click.echo(f"regproxy: --token-file {harmless(str(error))}", err=True)
                raise SystemExit(1) from None
        if self.admin is not None and self.config is None:
            return None
        named = self.settings().admin_token_file
        try:
            return None if named is None else read_secret(named).decode("ascii")
        except SecretUnusable:
            return None


def pass_where(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options that say which daemon it asks, and pass it ``where``: a :class:`Where`."""

    @functools.wraps(verb)
    def placed(admin: Address | None, config: Path | None, token_file: Path | None, **others: Any) -> None:
        verb(**others, where=Where(admin, config, token_file))

    return admin_option(config_option(_token_option(placed)))
