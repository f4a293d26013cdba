"""Origins: scheme, host and port, the only boundary a credential respects (invariant 4, R80, R85)."""

from __future__ import annotations

import re

import attrs
from hyperlink import DecodedURL, URLParseError

from regproxy.errors import InvalidTarget

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_PORT = 65535

_START = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([A-Za-z0-9._~:\[\]\u0080-\U0010ffff-]+)(?=[/?#]|\Z)")
"""Scheme and authority of an absolute URL; no ``@``, so no user and password."""


@attrs.frozen(slots=True, order=True)
class Origin:
    """Where a URL points: lower-case ``scheme`` (http or https) and ``host``, and the ``port``."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http(s) URL; :exc:`InvalidTarget` for anything else.

        Only scheme, host and port are read: what follows may hold any bytes.
        """
        return cls.split(url)[0]

    @classmethod
    def split(cls, url: str) -> tuple[Origin, str]:
        """The origin, and everything after it exactly as it was written; raises as :meth:`of`."""
        start = _START.match(url)
        scheme = start[1].lower() if start is not None else ""
        if start is None or scheme not in DEFAULT_PORTS:
            raise InvalidTarget("not an absolute http or https URL without user and password")
        try:
            parsed = DecodedURL.from_text(start[0])
        except (URLParseError, ValueError):
            raise InvalidTarget("not a URL") from None
        port = DEFAULT_PORTS[scheme] if parsed.port is None else parsed.port
        if not parsed.host or not 0 < port <= MAX_PORT:
            raise InvalidTarget("not a URL with a host, and a port if any from 1 to 65535")
        return cls(scheme, parsed.host.lower(), port), url[start.end() :]

    @property
    def secure(self) -> bool:
        """Whether it is reached over TLS."""
        return self.scheme == "https"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if DEFAULT_PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{host}{port}"
