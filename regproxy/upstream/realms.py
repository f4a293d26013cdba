"""The realm guard (R80, P36, invariant 4): where a token may be asked for, and with what. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from regproxy.headers.origins import Origin


def refuse_realm(
    realm: Origin,
    upstream: Origin,
    trusted: Collection[Origin],
    with_credentials: bool,
    insecure: bool = False,
) -> str | None:
    """Why ``realm`` must not be asked for a token, as a clause for a person; None: it may.

    Credentials go to the upstream's own origin and to ``trusted`` ones (the built-in realm of a
    well-known registry, and ``token_realms``); anonymous requests to any https realm. Plain http
    only for an upstream that is ``insecure`` http itself.
    """
    if not realm.secure and (upstream.secure or not insecure):
        return f"its token server {realm} is not https, so it is not asked"
    if not with_credentials:
        return _refuse_stranger(realm, upstream, trusted)
    if realm == upstream or realm in trusted:
        return None
    return (
        f"its token server is {realm}, which is not known to belong to it, so our credentials were"
        f" not sent; if it does, add 'token_realms: [{realm}]' to this upstream"
    )


def _refuse_stranger(realm: Origin, upstream: Origin, trusted: Collection[Origin]) -> str | None:
    """A literal address inside this machine or its link is refused even without credentials."""
    if realm.host == upstream.host or realm in trusted:
        return None
    try:
        address = ipaddress.ip_address(realm.host)
    except ValueError:
        return None
    if address.is_link_local or address.is_loopback or address.is_unspecified:
        return f"its token server {realm} is at an address that is not allowed"
    return None
