"""Operations on the content: by the running daemon, or where none runs here, under the lock of its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from regproxy.cli.asking import NOBODY, STRANGE, AskFailed, error_in
from regproxy.cli.audit import note
from regproxy.cli.ending import failures_told
from regproxy.cli.interruption import INTERRUPTED
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import FAILED, REFUSED, order
from regproxy.cli.where import Where
from regproxy.errors import StorageFailed
from regproxy.settings import Settings

WAIT_S = 600.0

Ask = Callable[[str, Mapping[str, object]], dict[str, Any]]
"""Has an operation carried out, by its name; :exc:`AskFailed`."""
T = TypeVar("T")


def strange() -> AskFailed:
    """What is raised for an answer that has another form than ours."""
    return AskFailed("the answer is not understood: it is of another version; see --json", STRANGE)


def by_hand(talk: Callable[[Ask], T], where: Where, *, fetches: bool = False) -> T:
    """What ``talk`` makes of the answers. Ends the program with one line where there are none."""
    try:
        with failures_told():
            return _by_daemon(talk, where, fetches)
    except KeyboardInterrupt:
        click.echo("regproxy: interrupted", err=True)
        raise SystemExit(INTERRUPTED) from None


def _by_daemon(talk: Callable[[Ask], T], where: Where, fetches: bool) -> T:
    heard = False

    def ask(action: str, body: Mapping[str, object]) -> dict[str, Any]:
        nonlocal heard
        found = order(asked, action, body, token, WAIT_S)
        heard = True
        return found

    try:
        asked, token = where.listeners(), where.token()
        return talk(ask)
    except AskFailed as error:
        if error.code != NOBODY or where.admin is not None or heard:
            raise
        return _alone(talk, where.settings(), error, fetches)


def _alone(talk: Callable[[Ask], T], settings: Settings, error: AskFailed, fetches: bool) -> T:
    root = settings.storage.root
    if not (root / "VERSION").exists():
        raise AskFailed(f"{error}; and there is no storage folder {root}", NOBODY)
    from twisted.internet import reactor  # only for those who need it

    from regproxy.alone import Carry, with_folder

    def opened() -> None:
        where = harmless(str(root))
        click.echo(f"regproxy: no daemon answers; working on {where}, which is locked", err=True)

    def told(carry: Carry) -> T:
        def ask(action: str, body: Mapping[str, object]) -> dict[str, Any]:
            status, answer = carry(action, body)
            if status == 200 or (status == 503 and "program" in answer):
                return dict(answer)
            message = answer.get("error")
            code = REFUSED if status == 400 else FAILED
            raise AskFailed(message if isinstance(message, str) else error_in(status, b""), code)

        return talk(ask)

    try:
        return with_folder(settings, reactor, told, note, fetches=fetches, opened=opened)
    except StorageFailed as failed:
        raise AskFailed(f"{error}; and {failed}", NOBODY) from None
