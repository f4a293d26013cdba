"""``regproxy check FILE``: is this a file that the daemon would start with?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from regproxy.cli.places import troubles
from regproxy.config import ConfigError, load
from regproxy.config.endpoints import Endpoint
from regproxy.config.errors import printable
from regproxy.config.values import show_duration, show_size
from regproxy.settings import Settings, StorageSettings, UpstreamSettings


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check the settings in FILE, and that the places that they name are there.

    Exit code 0 and a summary when they can be used; else 1, and a line for each fault: where it
    is and what would be right.
    """
    try:
        settings = load(file, os.environ)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        raise SystemExit(1) from None
    found = list(troubles(settings))
    sure = [trouble.line for trouble in found if trouble.sure]
    for line in sure:
        click.echo(printable(line), err=True)
    if sure:
        raise SystemExit(1)
    for line in summary(settings):
        click.echo(line)
    for trouble in found:
        click.echo(f"  warning    {printable(trouble.line)}")


def summary(settings: Settings) -> Iterator[str]:
    """What these settings come to, a line each; no secret."""
    yield f"{printable(str(settings.source))}: the settings are good"
    for title, values in _facts(settings):
        yield f"  {title:<10} {printable(', '.join(values) or 'none')}"
    for warning in settings.warnings:
        yield f"  warning    {warning}"


def _facts(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "listen", settings.listen
    yield "admin", settings.admin
    yield "storage", tuple(_storage(settings.storage))
    yield "ttl", (show_duration(settings.ttl_s),)
    yield "upstreams", tuple(map(_upstream, settings.upstreams))
    yield "networks", tuple(map(str, settings.access.networks))
    yield "known by", tuple(_known_by(settings))


def _known_by(settings: Settings) -> Iterator[str]:
    """The ways in which clients say who they are."""
    access = settings.access
    if access.htpasswd is not None:
        yield "password"
    if access.tokens is not None:
        yield "token"
    if any(Endpoint.parse(each).asks for each in settings.all_listen):
        yield "certificate"
    if access.anonymous:
        yield "nothing: all of these networks may ask"


def _storage(storage: StorageSettings) -> Iterator[str]:
    yield str(storage.root)
    if storage.max_size_bytes is not None:
        yield f"at most {show_size(storage.max_size_bytes)}"
    if storage.min_free_bytes is not None:
        yield f"leaves {show_size(storage.min_free_bytes)} free"
    if storage.max_size_bytes is not None:
        yield f"down to {storage.low_water:.0%} when something has to go"


def _upstream(upstream: UpstreamSettings) -> str:
    notes = [
        "default" if upstream.default else "",
        "plain http" if upstream.insecure else "",
        "with credentials" if upstream.credentials else "",
        *(f"at {host}" for host in upstream.hosts),
        *(f"on {description}" for description in upstream.listen),
        "with a client certificate" if upstream.client_cert else "",
        "may send us to private addresses" if upstream.private else "",
    ]
    said = ", ".join(filter(None, notes))
    return f"{upstream.name} ({said})" if said else upstream.name
