"""Origins: scheme, host and port, the only boundary a credential respects (invariant 4, R80, R85)."""

from __future__ import annotations

import attrs
from hyperlink import DecodedURL, URLParseError

from regproxy.errors import InvalidTarget

DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.frozen(slots=True, order=True)
class Origin:
    """Where a URL points: lower-case ``scheme`` (http or https) and ``host``, and the ``port``."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http(s) URL; :exc:`InvalidTarget` for anything else."""
        try:
            parsed = DecodedURL.from_text(url)
        except (URLParseError, ValueError):
            raise InvalidTarget("not a URL") from None
        scheme = parsed.scheme.lower()
        if scheme not in DEFAULT_PORTS or not parsed.host or any(parsed.userinfo):
            raise InvalidTarget("not an absolute http or https URL without user and password")
        return cls(scheme, parsed.host.lower(), parsed.port or DEFAULT_PORTS[scheme])

    @property
    def secure(self) -> bool:
        """Whether it is reached over TLS."""
        return self.scheme == "https"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if DEFAULT_PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{host}{port}"
