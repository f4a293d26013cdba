"""Redirects, decided (R85, R88): pure. ``calls`` carries the decision out."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from regproxy.errors import InvalidTarget
from regproxy.headers.locations import MAX_LOCATION_LENGTH, is_exact, resolve
from regproxy.headers.origins import Origin

MAX_HOPS = 5


@attrs.frozen(slots=True)
class Follow:
    """Ask ``url`` next, byte for byte. It may hold a signature: neither logged nor kept."""

    url: str = attrs.field(repr=False)
    origin: Origin


@attrs.frozen(slots=True)
class Refuse:
    """Do not follow; ``reason`` is a clause for a person, without the URL."""

    reason: str


Redirect: TypeAlias = Follow | Refuse


def decide_redirect(location: str | None, visited: tuple[str, ...], insecure: bool = False) -> Redirect:
    """Where a 301, 302, 303, 307 or 308 from the last of ``visited`` leads.

    ``visited`` holds every URL asked so far, so it bounds the hops and shows a loop. From https to http
    only where the settings say ``insecure``.
    """
    if len(visited) > MAX_HOPS:
        return Refuse(f"it redirects more than {MAX_HOPS} times")
    if not location or len(location) > MAX_LOCATION_LENGTH or not is_exact(location):
        return Refuse("it redirects without a usable Location")
    try:
        url = resolve(visited[-1], location)
        here, there = Origin.of(visited[-1]), Origin.of(url)
    except InvalidTarget:
        return Refuse("it redirects to something that is no http or https URL")
    if here.secure and not there.secure and not insecure:
        return Refuse(f"it redirects from https to {there}, which is not protected")
    if url in visited:
        return Refuse("it redirects in a circle")
    return Follow(url, there)
