"""Do the files and folders that settings name exist? What a start would end with, told before it.

Nothing is made or written. What only this user may not read or write is a warning: the daemon may
be another user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from regproxy.config.endpoints import TLS_FILES, Endpoint
from regproxy.errors import RegproxyError, SecretUnusable
from regproxy.secretfile import read_secret
from regproxy.settings import AccessSettings, Settings


@attrs.frozen(slots=True)
class Trouble:
    """A place that cannot be used as it is. ``sure``: by nobody, so the daemon would not start."""

    line: str
    sure: bool = True


def troubles(settings: Settings) -> Iterator[Trouble]:
    """What is wrong with the places that ``settings`` name."""
    written = settings.admin if settings.admin_written else ()  # a default one may fail
    for description in (*settings.all_listen, *written):
        yield from _as_far_as_seen(description, _endpoint(description, settings.storage.root))
    if settings.admin_token_file is not None:
        yield from _as_far_as_seen("admin_token_file", _secret("admin_token_file", settings.admin_token_file))
    yield from _as_far_as_seen("storage.root", _folder("storage.root", settings.storage.root))
    yield from _access(settings.access)
    if settings.log.access not in ("-", "off"):
        yield from _as_far_as_seen("log.access", _log_file("log.access", Path(settings.log.access)))


def _as_far_as_seen(name: str, found: Iterator[Trouble]) -> Iterator[Trouble]:
    """What was found, up to a folder that this user may not look into."""
    try:
        yield from found
    except PermissionError as error:
        yield Trouble(f"{name}: {error.filename} cannot be seen by this user", sure=False)


def _log_file(name: str, path: Path) -> Iterator[Trouble]:
    if path.is_dir():
        yield Trouble(f"{name}: {path} is a folder")
    elif path.exists():
        yield from _writable(name, path)
    else:
        yield from _parent(name, path)


def _endpoint(description: str, root: Path) -> Iterator[Trouble]:
    found = Endpoint.parse(description)
    address = Path(found.get("address") or "")
    if found.kind == "unix" and address.parent != root:  # which is made
        yield from _parent(description, address)
    if found.kind != "ssl":
        return
    lacking = [trouble for name in TLS_FILES for trouble in _readable(description, found.get(name))]
    yield from lacking or _certificate(description, found)


def _secret(name: str, path: Path) -> Iterator[Trouble]:
    try:
        read_secret(path)
    except SecretUnusable as error:
        seen = path.parent.stat() and path.exists()  # PermissionError, where it may not be looked at
        yield Trouble(f"{name} {error}", sure=not seen or os.access(path, os.R_OK))


def _readable(name: str, path: str | None) -> Iterator[Trouble]:
    if path is None:
        return
    try:
        with open(path, "rb"):
            return
    except PermissionError:
        yield Trouble(f"{name}: {path} cannot be read by this user", sure=False)
    except OSError as error:
        yield Trouble(f"{name}: {path}: {error.strerror}")


def _certificate(description: str, found: Endpoint) -> Iterator[Trouble]:
    from regproxy.tls import TlsFiles  # a tenth of a second, for those who have such an endpoint

    try:
        TlsFiles.of(found).context()
    except RegproxyError as error:
        yield Trouble(f"{description}: {error}")


def _access(access: AccessSettings) -> Iterator[Trouble]:
    """The files that say who is known, read as the daemon reads them."""
    if access.htpasswd is not None:
        from regproxy.access.htpasswd import parse_htpasswd

        yield from _parsed("access.htpasswd", access.htpasswd, lambda text: parse_htpasswd(text).unusable)
    if access.tokens is not None:
        from regproxy.access.keys import parse_keys

        yield from _parsed("access.tokens.keys_file", access.tokens.keys_file, parse_keys)


def _parsed(name: str, path: Path, parse: Callable[[bytes], object]) -> Iterator[Trouble]:
    """What ``parse`` raises, or passes over and says in a text."""
    from regproxy.smallfile import read_small

    if not os.access(path, os.R_OK):
        return  # which the settings' reader has said
    try:
        said = parse(read_small(path))
    except RegproxyError as error:
        yield Trouble(f"{name}: {path}: {error}")
        return
    if isinstance(said, str) and said:
        yield Trouble(f"{name}: {path}, {said}", sure=False)


def _folder(name: str, path: Path) -> Iterator[Trouble]:
    """It is a folder, or can be made one."""
    for place in (path, *path.parents):
        if place.is_dir():
            yield from _writable(name, place)
            return
        if place.is_symlink() or place.exists():
            yield Trouble(f"{name}: {place} is not a folder")
            return


def _parent(name: str, path: Path) -> Iterator[Trouble]:
    if not path.parent.is_dir():
        yield Trouble(f"{name}: there is no folder {path.parent}")
    else:
        yield from _writable(name, path.parent)


def _writable(name: str, place: Path) -> Iterator[Trouble]:
    if not os.access(place, os.W_OK):
        yield Trouble(f"{name}: {place} cannot be written by this user", sure=False)
