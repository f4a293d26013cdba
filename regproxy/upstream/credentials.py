"""The user name and password of one upstream, read when they are needed, shown nowhere (P17, P50)."""

from __future__ import annotations

import base64
from pathlib import Path

import attrs

from regproxy.errors import UpstreamRefused
from regproxy.settings import Credentials

IDENTITY_USER = "<token>"
"""The user name that says: the password is an identity (refresh) token (R77)."""

_MAX_PASSWORD_BYTES = 64 * 1024


@attrs.frozen(slots=True)
class Login:
    """A user name and password at this moment."""

    username: str
    password: str = attrs.field(repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


class CredentialSource:
    """Gives the login of one upstream; a password file is read anew each time."""

    def __init__(self, upstream: str, settings: Credentials | None) -> None:
        self._upstream = upstream
        self._settings = settings

    def __bool__(self) -> bool:
        return self._settings is not None

    def login(self) -> Login | None:
        """The login, None without one; UpstreamRefused when the password file cannot be read."""
        settings = self._settings
        if settings is None:
            return None
        if settings.password_file is None:
            return Login(settings.username, settings.password or "")
        return Login(settings.username, self._read(settings.password_file))

    def mark(self) -> int | None:
        """What tells this login from another one, in this process; None without one. UpstreamRefused."""
        login = self.login()
        return None if login is None else hash((login.username, login.password))

    def identity(self) -> int:
        """As :meth:`mark`; 0 without one, or while it cannot be read."""
        try:
            return self.mark() or 0
        except UpstreamRefused:
            return 0

    def _read(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                first = file.read(_MAX_PASSWORD_BYTES).split(b"\n", 1)[0]
            return first.rstrip(b"\r").decode()
        except OSError as error:
            reason = "the mirror cannot read its password file"
            raise UpstreamRefused(self._upstream, reason, f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UpstreamRefused(self._upstream, "its password file is not UTF-8 text", str(path)) from None
