"""Secrets that tests can be sure to recognise, and the look for secrets in what was written down.

Every password, refresh token and signature that the servers of this package know or that tests
make up holds ``MARKER``, so that any form of it that reaches a log is found; what looks like a
secret is found by its form, whoever made it.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

MARKER = "hunter2"
"""In every secret of a test."""
MAX_SHOWN = 160

_FORMS = {
    "an Authorization header": re.compile(
        r"\b(?:Bearer|Basic)\s+(?!\w+=[\"\w])(?=[a-z]*[A-Z\d+/.~=_-])[\w+/.~=-]{3,}|"
        r"\b[Aa]uthorization\W{1,6}(?:Bearer|Basic)\s+\w"
    ),
    "a token": re.compile(r"\beyJ[\w-]{8,}\.[\w-]+"),
    "a signed query": re.compile(
        r"[?&;](?:X-(?:Amz|Goog|Oss|Cos)-[A-Za-z-]+|sig|signature|token|access_token|refresh_token|password|"
        r"client_secret|key-pair-id|policy|expires|st|se|sp|spr|sv|sr|verify)=[^\s&]",
        re.IGNORECASE,
    ),
    "credentials in a URL": re.compile(r"://[^/\s@?#\"']+@"),
}


def _in_base64(text: str) -> tuple[str, ...]:
    """What of ``text`` is the same in base64 wherever it begins in what is encoded."""
    data = text.encode()
    return tuple(
        base64.b64encode(b"\0" * before + data).decode()[start : (before + len(data)) * 8 // 6]
        for before, start in ((0, 0), (1, 2), (2, 3))
    )


_MARKERS = re.compile("|".join(map(re.escape, (MARKER, *_in_base64(MARKER)))))


def find_secrets(text: str) -> list[str]:
    """What in ``text`` is a secret or looks like one: its kind, and the line it stands in."""
    return [
        f"{kind}: {line.strip()[:MAX_SHOWN]}"
        for line in text.splitlines()
        for kind, form in (("a secret of the test", _MARKERS), *_FORMS.items())
        if form.search(line) or form.search(unquote(line))
    ]
