"""The operations door: the one way to change something in the running mirror.

A table of actions: a name, what reads its request from JSON, the coroutine that carries it out. Who
may ask is decided in ``attempts``, from a request's head. Each operation is one line in the log: who,
what, and what came of it; so is each one that is refused, up to MAX_REFUSALS a minute.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from regproxy.admin.attempts import Attempt, caller
from regproxy.admin.pages import BROKEN, Sheet, as_json, send
from regproxy.errors import Busy, InvalidRequest, RegproxyError, SecretUnusable, StorageFailed, UnknownRoute
from regproxy.secretfile import read_secret
from regproxy.seldom import Seldom

PREFIX = b"/actions/"
MAX_REFUSALS = 30
MAX_WHAT = 600

T = TypeVar("T")
Body = Mapping[str, Any]


@attrs.frozen(slots=True)
class Outcome:
    """What came of an operation: one clause for the log, a JSON object for who asked."""

    told: str
    answer: Mapping[str, object]
    status: int = 200


@attrs.frozen(slots=True)
class Action(Generic[T]):
    """One operation. ``read`` makes its request of a JSON object, or raises :exc:`InvalidRequest`.

    The text of a request stands in the log; ``carry_out`` runs to its end, whether or not who asked
    still waits for it. ``quiet``: it only looks on at an operation that has its line already.
    """

    read: Callable[[Body], T]
    carry_out: Callable[[T], Awaitable[Outcome]]
    quiet: bool = False


@attrs.frozen(slots=True)
class Doorkeeping:
    """What the settings say: where the operators' token is, and by which names TCP is reached."""

    token_file: Path | None = None
    names: tuple[str, ...] = ()

    def token(self) -> bytes | None:
        """As it is now; :exc:`SecretUnusable`."""
        return None if self.token_file is None else read_secret(self.token_file)


class Door(Resource):
    """All actions below PREFIX, for those who may ask."""

    log = Logger()
    isLeaf = True

    def __init__(
        self, actions: Mapping[str, Action[Any]], clock: IReactorTime, keeping: Doorkeeping = Doorkeeping()
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._actions = {PREFIX + name.encode("ascii"): (name, action) for name, action in actions.items()}
        self._clock = clock
        self._keeping = keeping
        self._refusals = Seldom(MAX_REFUSALS)

    def admit(self, path: bytes, attempt: Attempt) -> str:
        """Who asks, when he may and there is such an action; else the refusal is logged and raised."""
        try:
            who = caller(attempt, None if attempt.trusted else self._keeping.token(), self._keeping.names)
            if path not in self._actions:
                raise UnknownRoute(
                    f"no such operation: there is {', '.join(n for n, _ in self._actions.values())}"
                )
        except SecretUnusable as error:
            self._note_refusal(attempt, str(error))
            raise SecretUnusable("the mirror's admin_token_file cannot be used; its log says why") from None
        except RegproxyError as error:
            self._note_refusal(attempt, error.message)
            raise
        return who

    def _note_refusal(self, attempt: Attempt, why: str) -> None:
        """Strangers must not fill the log."""
        if not self._refusals.may(self._clock.seconds()):
            return
        who = f"uid {attempt.socket.uid}" if attempt.socket is not None else attempt.remote
        self.log.warn("An operation for {who} is refused: {outcome}", who=who, outcome=why)

    def render(self, request: Any) -> int:
        """Carry it out; ``request.caller`` is who was admitted."""
        name, action = self._actions[request.path]
        body = request.content.read()
        doing = Deferred.fromCoroutine(self._carry_out(name, action, request.caller, body))
        doing.addCallback(_answered, request)
        return NOT_DONE_YET

    async def _carry_out(self, name: str, action: Action[Any], who: str, body: bytes) -> Sheet:
        what, told, quiet = "-", "a fault in the mirror", False
        try:
            asked = action.read(_object(body))
            what = _on_one_line(str(asked))
            outcome = await action.carry_out(asked)
            told, quiet = outcome.told, action.quiet and outcome.status == 200
            return as_json(outcome.answer, outcome.status)
        except RegproxyError as error:
            told = f"failed: {error.message}"
            return as_json({"error": error.message}, status_of(error))
        except Exception:  # noqa: BLE001  the last resort at the edge: logged whole, told as a bare 500
            self.log.failure("An operation could not be carried out", Failure())
            return BROKEN
        finally:
            if not quiet:
                self.log.info(
                    "Operation {operation} for {who}: {what}: {outcome}",
                    operation=name,
                    who=who,
                    what=what,
                    outcome=told,
                )


def _on_one_line(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text[:MAX_WHAT])


def _object(body: bytes) -> Body:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not JSON") from None
    if not isinstance(found, dict):
        raise InvalidRequest("the body is no JSON object")
    return found


def fields(body: Body, known: Sequence[str]) -> Body:
    """``body``, when it has no other keys than ``known``: one that is misspelt must not be passed over."""
    if not set(body) <= set(known):
        raise InvalidRequest(f"the body has other keys than {', '.join(known)}")
    return body


def status_of(error: RegproxyError) -> int:
    """What an operation that failed is answered with."""
    if isinstance(error, InvalidRequest):
        return 400
    return 503 if isinstance(error, StorageFailed | Busy) else 500


def _answered(sheet: Sheet, request: Any) -> None:
    """Nothing of it goes anywhere, where who asked has left."""
    request.write(send(request, sheet))
    request.finish()
