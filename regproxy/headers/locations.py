"""Where a Location or a Link leads: a URL whose path and query are the sender's own characters.

A signature holds for the bytes that were signed, so nothing here decodes, encodes or tidies up.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin

from regproxy.errors import InvalidTarget
from regproxy.headers.origins import Origin

MAX_LOCATION_LENGTH = 16_384

_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def is_exact(text: str) -> bool:
    """Whether every character can go into a request line as it is: no blank, control or non-ASCII."""
    return _PRINTABLE.fullmatch(text) is not None


def resolve(here: str, reference: str) -> str:
    """The absolute URL, without fragment, that ``reference`` means at the URL ``here``.

    The origin is written in one form, what follows it stays exact; only a path that is relative to
    ``here`` is merged with it. :exc:`InvalidTarget` for blanks, controls, non-ASCII, more than 16 KiB
    or anything that is no http(s) URL.
    """
    if len(reference) > MAX_LOCATION_LENGTH or not is_exact(reference):
        raise InvalidTarget("not printable ASCII")
    reference = reference.partition("#")[0]
    origin, target = Origin.split(here)
    if reference.startswith("//"):
        reference = f"{origin.scheme}:{reference}"
    if _SCHEME.match(reference):
        origin, target = Origin.split(reference)
        return f"{origin}{rooted(target)}"
    return f"{origin}{_merged(target, reference)}"


def rooted(target: str) -> str:
    """What follows an origin as a request names it: from ``/`` on, without fragment."""
    exact = target.partition("#")[0]
    return exact if exact.startswith("/") else f"/{exact}"


def _merged(target: str, reference: str) -> str:
    if reference.startswith("/"):
        return reference
    path, question, query = reference.partition("?")
    here, mark, kept = rooted(target).partition("?")
    if not path:
        return f"{here}{question}{query}" if question else f"{here}{mark}{kept}"
    folder = f"http://a{here.rpartition('/')[0]}/"
    return f"{urljoin(folder, path).removeprefix('http://a')}{question}{query}"
