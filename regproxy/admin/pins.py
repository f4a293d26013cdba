"""The operations ``pin``, ``unpin`` and ``pins``: which images stay, and the list of them."""

from __future__ import annotations

from functools import partial

import attrs

from regproxy.admin.door import Action, Body, Outcome, fields
from regproxy.admin.inventory import MAX_NAME, PROGRAM
from regproxy.admin.names import ImageNames
from regproxy.errors import InvalidRequest
from regproxy.inventory.pinning import Pinning
from regproxy.oci.images import ImagePattern

MAX_LISTED = 1000


@attrs.frozen(slots=True)
class PinRequest:
    """``dry_run``: only say what it would change."""

    pattern: ImagePattern
    dry_run: bool

    def __str__(self) -> str:
        return f"{self.pattern}{' (dry run)' if self.dry_run else ''}"


def read_pin(names: ImageNames, body: Body) -> PinRequest:
    """What is to be pinned, or not any more."""
    known = fields(body, ("image", "dry_run"))
    image, dry_run = known.get("image"), known.get("dry_run")
    wrong = not isinstance(image, str) or not 0 < len(image) <= MAX_NAME
    if wrong or not isinstance(dry_run, bool | None):
        raise InvalidRequest("expected image, a name with * and ? for signs, and perhaps dry_run")
    return PinRequest(names.pattern(str(image)), dry_run is True)


def pin_action(pinning: Pinning, names: ImageNames) -> Action[PinRequest]:
    """The row for the door's table."""

    async def carry_out(asked: PinRequest) -> Outcome:
        pattern = asked.pattern
        await pinning.known()
        there = pinning.by_settings(pattern) or pinning.by_hand(pattern)
        changed = not there if asked.dry_run else await pinning.add(pattern)
        images, size_bytes = await pinning.kept_by(pattern)
        told = _told(asked, changed, "pinned")
        return Outcome(told, {**_document("pin", asked, changed), "images": images, "size_bytes": size_bytes})

    return Action(partial(read_pin, names), carry_out)


def unpin_action(pinning: Pinning, names: ImageNames) -> Action[PinRequest]:
    """The row for the door's table."""

    async def carry_out(asked: PinRequest) -> Outcome:
        pattern = asked.pattern
        await pinning.known()
        written, there = pinning.by_settings(pattern), pinning.by_hand(pattern)
        changed = there if asked.dry_run else await pinning.remove(pattern)
        told = _told(asked, changed, "unpinned")
        return Outcome(told, {**_document("unpin", asked, changed), "written": written})

    return Action(partial(read_pin, names), carry_out)


def _told(asked: PinRequest, changed: bool, word: str) -> str:
    line = f"{'would be' if asked.dry_run else 'is'} {word}"
    return line if changed else f"{line}, as before"


def _document(action: str, asked: PinRequest, changed: bool) -> dict[str, object]:
    return {
        **PROGRAM,
        "action": action,
        "image": str(asked.pattern),
        "dry_run": asked.dry_run,
        "changed": changed,
    }


def pins_action(pinning: Pinning) -> Action[str]:
    """The row for the door's table: all pins, those of the settings first."""

    def read(body: Body) -> str:
        fields(body, ())
        return "all"

    async def carry_out(asked: str) -> Outcome:
        await pinning.known()
        found = pinning.listed()
        listed = [{"image": image, "written": written} for image, written in found[:MAX_LISTED]]
        answer = {**PROGRAM, "action": "pins", "count": len(found), "pins": listed}
        return Outcome(f"{len(found)} pins", answer)

    return Action(read, carry_out)
