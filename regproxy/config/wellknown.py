"""The public registries that need no settings, as data: one line each."""

from __future__ import annotations

import attrs

from regproxy.headers.origins import Origin
from regproxy.settings import Quirks


@attrs.frozen(slots=True)
class WellKnown:
    """A public registry: the ``api`` it is reached at, and where its token server is.

    ``realm`` is None where tokens come from the API's own origin, or none are needed (R82).
    ``library``: one-component names get ``library/`` in front (R83). ``quirks`` are those of
    ``api``: another endpoint under the same name has none of them.
    """

    name: str
    api: str
    realm: Origin | None = None
    aliases: tuple[str, ...] = ()
    library: bool = False
    quirks: Quirks = attrs.field(factory=Quirks)


_HUB_ALIASES = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_HUB_REALM = Origin.of("https://auth.docker.io")

WELL_KNOWN: tuple[WellKnown, ...] = (
    WellKnown("docker.io", "https://registry-1.docker.io", _HUB_REALM, _HUB_ALIASES, library=True),
    WellKnown("ghcr.io", "https://ghcr.io"),
    WellKnown("quay.io", "https://quay.io"),
    WellKnown("registry.k8s.io", "https://registry.k8s.io"),
    WellKnown("gcr.io", "https://gcr.io"),
    WellKnown("mcr.microsoft.com", "https://mcr.microsoft.com"),
    WellKnown("public.ecr.aws", "https://public.ecr.aws", quirks=Quirks(blob_heads=False, ended_token=400)),
    WellKnown("registry.gitlab.com", "https://registry.gitlab.com", Origin.of("https://gitlab.com")),
    WellKnown("nvcr.io", "https://nvcr.io", quirks=Quirks(one_realm=True)),
)

DEFAULT_NAME = "docker.io"
"""The upstream that a request without a registry's name goes to, where it is present."""

_BY_NAME = {known.name: known for known in WELL_KNOWN}
_ALIASES = {alias: known.name for known in WELL_KNOWN for alias in known.aliases}


def find(name: str) -> WellKnown | None:
    """The entry of this very name; aliases do not count."""
    return _BY_NAME.get(name)


def canonical(host: str) -> str:
    """``host``, or the name of the registry that it is only another name of (P22)."""
    return _ALIASES.get(host, host)


def builtin_realm(name: str) -> Origin | None:
    """The token server of a well-known registry, where it is not the registry's own origin.

    Credentials for the upstream ``name`` may go there (invariant 4, R80).
    """
    known = _BY_NAME.get(name)
    return known.realm if known else None
