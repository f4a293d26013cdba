"""Scopes of tokens (R76): what reading a repository takes, there where it is asked. Pure."""

from __future__ import annotations

import re

from regproxy.errors import InvalidTarget
from regproxy.headers.origins import Origin

_MAX_PATH_LENGTH = 1024
_CONTENT = re.compile(
    r"/v2/([a-z0-9._/-]{1,255})/(?:(?:manifests|blobs)/[^/?#]+|tags/list)(?:[?#]|\Z)", re.ASCII
)


def pull_scope(path: str) -> str:
    """The scope that reading the repository ``path`` takes."""
    return f"repository:{path}:pull"


def scope_at(url: str, usual: str) -> str:
    """The scope for a URL that an upstream sent us to; ``usual`` where it is no registry's.

    Another registry may know the repository by another name (R88): asked with the first one's
    scope it would refuse each token once before it says its own.
    """
    try:
        _, target = Origin.split(url)
    except InvalidTarget:
        return usual
    found = _CONTENT.match(target[:_MAX_PATH_LENGTH])
    return usual if found is None else pull_scope(found[1])
