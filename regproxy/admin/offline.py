"""The operation ``offline``: have an upstream asked nothing, or asked again."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from regproxy.admin.door import Action, Body, Outcome, fields
from regproxy.errors import InvalidRequest
from regproxy.namespaces import Namespaces
from regproxy.proxy.offline import OfflineSwitch, Switched
from regproxy.settings import UpstreamSettings

MAX_NAME_LENGTH = 300


@attrs.frozen(slots=True)
class OfflineRequest:
    """``upstream`` as the settings name it. ``dry_run``: only say whether it would change anything."""

    upstream: str
    offline: bool
    dry_run: bool

    def __str__(self) -> str:
        word = "offline" if self.offline else "online"
        return f"{self.upstream} {word}{' (dry run)' if self.dry_run else ''}"


def offline_action(switch: OfflineSwitch, upstreams: Iterable[UpstreamSettings]) -> Action[OfflineRequest]:
    """The row for the door's table. An upstream is named by any of its names."""
    namespaces = Namespaces(upstreams)

    def read(body: Body) -> OfflineRequest:
        known = fields(body, ("upstream", "offline", "dry_run"))
        name, offline, dry_run = (known.get(key) for key in ("upstream", "offline", "dry_run"))
        wrong = not isinstance(name, str) or len(name) > MAX_NAME_LENGTH
        if wrong or not isinstance(offline, bool) or not isinstance(dry_run, bool | None):
            raise InvalidRequest("expected upstream, a name, offline, true or false, and perhaps dry_run")
        upstream = namespaces.registry(str(name))
        if upstream is None:
            raise InvalidRequest("the settings name no such upstream")
        return OfflineRequest(upstream.name, offline, dry_run is True)

    async def carry_out(asked: OfflineRequest) -> Outcome:
        if asked.dry_run:
            switched = Switched(switch.is_offline(asked.upstream) != asked.offline)
        else:
            switched = await switch.switch(asked.upstream, asked.offline)
        return Outcome(told(asked, switched), document(asked, switched), 503 if switched.failed else 200)

    return Action(read, carry_out)


def told(asked: OfflineRequest, switched: Switched) -> str:
    """For the log."""
    line = f"{'would be' if asked.dry_run else 'is'} {'offline' if asked.offline else 'online'}"
    line = line if switched.changed else f"{line}, as before"
    if switched.failed is not None:
        return f"{line}; a restart forgets it, the disk refused: {switched.failed}"
    return f"{line} until a restart: the settings have it offline" if switched.until_restart else line


def document(asked: OfflineRequest, switched: Switched) -> dict[str, object]:
    """For who asked."""
    failed = switched.failed
    error = {} if failed is None else {"error": f"it counts now, and a restart forgets it: {failed}"}
    return {
        "program": "regproxy",
        "version": 1,
        "action": "offline",
        "upstream": asked.upstream,
        "offline": asked.offline,
        "dry_run": asked.dry_run,
        "changed": switched.changed,
        "until_restart": switched.until_restart,
        **error,
    }
