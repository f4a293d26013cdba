"""The section ``access``: who may ask, and how clients say who they are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from regproxy.config.declared import clients as t
from regproxy.config.endpoints import Endpoint
from regproxy.config.section import Section
from regproxy.config.setting import Setting
from regproxy.config.upstreams import NO_PERMISSION, unreadable
from regproxy.settings import AccessSettings, TokenSettings


def read_access(root: Section, listen: Iterable[str]) -> AccessSettings:
    """Who may ask on ``listen``, the descriptions of the clients' listeners."""
    section = root.open(t.ACCESS)
    usual = AccessSettings()
    networks = section.values(t.NETWORKS)
    if networks == ():
        section.wrong("networks", "an empty list: nobody could ask")
    htpasswd = _file(section, t.HTPASSWD)
    tokens = _tokens(section) if section.has(t.TOKENS) else None
    asked = htpasswd is not None or tokens is not None or _by_certificate(listen)
    anonymous = section.optional(t.ANONYMOUS)
    if anonymous is False and not asked:
        section.wrong(
            "anonymous", "nobody could ask: there is no htpasswd, no tokens, and no listener with clientCA"
        )
    return AccessSettings(
        networks=usual.networks if networks is None else networks,
        trusted_proxies=section.values(t.TRUSTED_PROXIES) or (),
        htpasswd=htpasswd,
        tokens=tokens,
        anonymous=not asked if anonymous is None else anonymous,
        catalog=section.value(t.CATALOG),
        trace=section.values(t.TRACE) or (),
    )


def knows_clients(access: AccessSettings, listen: Iterable[str]) -> bool:
    """Whether a client can say who it is."""
    return access.asks or _by_certificate(listen)


def _by_certificate(listen: Iterable[str]) -> bool:
    return any(Endpoint.parse(each).asks for each in listen)


def check_proxied(root: Section, setting: Setting[str], access: AccessSettings) -> None:
    """Whoever reaches a ``haproxy:`` listener may claim any address: it needs a list of who may."""
    described = map(Endpoint.parse, root.values(setting) or ())
    proxied = any(each.wrapped and each.kind != "unix" for each in described)
    if proxied and not access.trusted_proxies:
        root.wrong(
            setting.key,
            "haproxy: believes whoever connects: write the addresses of your balancers as "
            "access.trusted_proxies",
        )


def tell_of_shut_listeners(root: Section, listen: Iterable[str], access: AccessSettings) -> None:
    """Where clients are known by certificate alone, a listener that asks for none lets nobody in."""
    for each in () if access.anonymous or access.asks else listen:
        if not Endpoint.parse(each).asks:
            root.warn(
                "listen",
                f"{each} lets nobody in: clients are known by certificate only, and it asks for none; "
                "write access.anonymous: true if they may pull what is for everyone",
            )


def _tokens(section: Section) -> TokenSettings | None:
    inner = section.open(t.TOKENS)
    issuer, audience, keys = inner.optional(t.ISSUER), inner.optional(t.AUDIENCE), _file(inner, t.KEYS_FILE)
    for setting in (t.ISSUER, t.AUDIENCE, t.KEYS_FILE):
        if not inner.has(setting):
            section.wrong("tokens", f"{setting.key} is missing")
    if issuer is None or audience is None or keys is None:
        return None
    return TokenSettings(issuer, audience, keys, inner.optional(t.REALM))


def _file(section: Section, setting: Setting[Path]) -> Path | None:
    file = section.optional(setting)
    if file is None:
        return None
    path = section.report.folder / file
    reason = unreadable(path)
    if reason == NO_PERMISSION:
        section.warn(setting.key, f"cannot be read by this user: {reason}")  # who checks may be another one
    elif reason:
        section.wrong(setting.key, f"expected a file that can be read: {reason}")
    return path
