"""What the person who pulls can do about an upstream that did not give what was asked for; pure.

A hint is a sentence of ours by the kind of the error: nothing of the request and nothing of an answer
is in it but the upstream's name in the settings and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from regproxy import errors

Hint = Callable[[Any], str]


def _throttled(error: errors.Throttled) -> str:
    wait = "in some minutes" if error.retry_after_s is None else f"after {error.retry_after_s} s"
    return (
        f"try again {wait}; the mirror's operator can give it credentials for {error.upstream}, which "
        "allows more to who is known"
    )


def _down(error: errors.UpstreamDown) -> str:
    if error.retry_after_s is None:
        return "what the mirror has is served meanwhile; its operator knows when this upstream is asked again"
    return (
        f"what the mirror has is served meanwhile; {error.upstream} is tried again in "
        f"{error.retry_after_s} s: nothing is to be done at the mirror"
    )


def _not_found(error: errors.NotFound) -> str:
    return f"look whether name and tag are right, and whether {error.upstream} is the registry that you mean"


def _denied(error: errors.Denied) -> str:
    return (
        "look whether the name is right: registries answer so for what is not there, too; if it is private, "
        f"the mirror's operator can write 'credentials' for {error.upstream} that may read it"
    )


def _refused(error: errors.UpstreamRefused) -> str:
    return (
        f"the mirror's operator must look at 'credentials' of {error.upstream} in its settings; its log says "
        "more"
    )


def _unreachable(error: errors.UpstreamUnreachable) -> str:
    return (
        f"try again; if it lasts, the mirror's operator should look at the way from the mirror to "
        f"{error.upstream}: name service, firewall, certificates"
    )


def _slow(error: errors.UpstreamTimeout) -> str:
    return f"try again: {error.upstream}, or the line to it, was too slow for a client that waits"


def _failed(error: errors.UpstreamFailed) -> str:
    return f"try again; if it lasts, it is for {error.upstream} to mend: its status page may say more"


def _wrong_content(error: errors.UpstreamError) -> str:
    return (
        f"try again; if it lasts, the content at {error.upstream} is damaged, or something on the way to it "
        "changes what it sends"
    )


def _any(error: errors.UpstreamError) -> str:
    return "try again; if it lasts, ask the mirror's operator, whose log says more"


TABLE: Mapping[type[errors.UpstreamError], Hint] = {
    errors.UpstreamError: _any,
    errors.NotFound: _not_found,
    errors.Denied: _denied,
    errors.Throttled: _throttled,
    errors.UpstreamUnreachable: _unreachable,
    errors.UpstreamTimeout: _slow,
    errors.UpstreamDown: _down,
    errors.UpstreamFailed: _failed,
    errors.UpstreamRefused: _refused,
    errors.ContentMismatch: _wrong_content,
    errors.ManifestRefused: _wrong_content,
}
"""A class that is not named here has the hint of the nearest class above it."""


def hint_for(error: errors.UpstreamError) -> str:
    """One sentence."""
    return next(TABLE[each] for each in type(error).__mro__ if each in TABLE)(error)
