"""An operation asked for at an admin listener, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from regproxy.cli.addresses import Address
from regproxy.cli.asking import NOT_PERMITTED, Question, Wrong, error_in, first, object_in, read_answer
from regproxy.cli.document import PROGRAM

REFUSED, NOTHING, FAILED = 2, 7, 8
"""Exit codes: no such question is taken, there was nothing to do, the daemon could not do (all of) it."""


def order(
    addresses: Sequence[Address],
    action: str,
    body: Mapping[str, object],
    token: str | None,
    seconds: float,
) -> dict[str, Any]:
    """What came of it, at the first address with a daemon that lets us.

    ``token`` goes to addresses on TCP only. :exc:`AskFailed`; an operation that was let in is asked for
    nowhere else, whatever came of it. One that the disk ended in its middle has an ``error``.
    """
    return first(addresses, seconds, Question(f"/actions/{action}", json.dumps(body), token), _judged)


def _judged(answer: bytes) -> dict[str, Any]:
    status, body = read_answer(answer, "POST")
    found = object_in(body)
    if status in (200, 503) and found.get("program") == PROGRAM:
        return found
    if status == 401:
        raise Wrong(f"not permitted: {error_in(status, body)}", NOT_PERMITTED)
    if status in (400, 500, 503) and "error" in found:
        raise Wrong(error_in(status, body), REFUSED if status == 400 else FAILED)
    raise Wrong(
        f"what answers there takes no operations ({status}): "
        "not the admin listener, no regproxy, or an older one"
    )
