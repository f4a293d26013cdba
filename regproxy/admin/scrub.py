"""The operation ``scrub``: a pass over every blob begins now. How far it is stands on the status page."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from regproxy.admin.door import Action, Body, Outcome, fields


@attrs.frozen(slots=True)
class ScrubRequest:
    """There is nothing to choose."""

    def __str__(self) -> str:
        return "all blobs"


def scrub_action(begin: Callable[[], bool]) -> Action[ScrubRequest]:
    """The row for the door's table. ``begin`` says whether it began, or ran already."""

    def read(body: Body) -> ScrubRequest:
        fields(body, ())
        return ScrubRequest()

    async def carry_out(asked: ScrubRequest) -> Outcome:
        begun = begin()
        answer = {"program": "regproxy", "version": 1, "action": "scrub", "begun": begun}
        return Outcome("begun" if begun else "one runs already", answer)

    return Action(read, carry_out)
