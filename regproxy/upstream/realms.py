"""The realm guard (R80, P36, invariant 4): where a token may be asked for, and with what. Pure.

At which addresses it may be asked for is judged when they are connected to: ``reach``.
"""

from __future__ import annotations

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
    if not with_credentials or realm == upstream or realm in trusted:
        return None
    return (
        f"its token server is {realm}, which is not known to belong to it, so our credentials were"
        f" not sent; if it does, add 'token_realms: [{realm}]' to this upstream"
    )
