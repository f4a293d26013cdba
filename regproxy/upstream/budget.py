"""The rate budget of one upstream with its credentials: what its answers say of a limit, and what that
stops (R91).

Laws: every answer to a manifest question is read, of a HEAD too. Nothing is asked that a 429 stopped; who
asks for it is told from memory, with what is left of its Retry-After. Where nothing is left, one GET a
minute finds out whether there is more. Another login has another budget.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime

from regproxy.errors import Throttled, UpstreamRefused
from regproxy.headers.origins import Origin
from regproxy.headers.ratelimits import LimitReport, read_limits
from regproxy.headers.retry_after import retry_after_s
from regproxy.interfaces import Allowance, Thrift
from regproxy.upstream import ledger as accounts
from regproxy.upstream.ledger import Ledger
from regproxy.upstream.throttle import Lane, Stopped, Throttle, lane_of

TRY_S = 60.0
"""Where nothing is left, by what the upstream said: after so long a GET finds out."""
LOOK_EVERY_S, LOOKS = 300.0, 24
"""While it is spared nobody may ask it anything: so often at most, and so many times in a window, it is asked
what is left."""
SILENT = 3
"""After so many answers in a row that tell no limit, from who told one before, there is none any more."""
LOGIN_S = 5.0
"""So often the login is looked at while it is refused: another one is asked with at once."""


class Heard(Protocol):
    """What is read of an answer."""

    @property
    def status(self) -> int:
        """Of its head."""

    @property
    def origin(self) -> Origin:
        """Who gave it: the last one, after redirects."""

    def header(self, name: str) -> str | None:
        """The last value of a header."""

    def headers(self, name: str) -> list[str]:
        """All of them."""


T = TypeVar("T", bound=Heard)


@attrs.define(eq=False)
class _Account:
    """What one endpoint grants: each has a limit of its own."""

    throttle: Throttle
    ledger: Ledger = attrs.field(factory=Ledger)
    under_way: int = 0
    """GETs of manifests that have no answer yet."""
    heads_tell: bool = False
    """Whether its answers to HEADs say what is left, too."""
    silent: int = 0
    """How many answers in a row have told nothing that should have."""


class Budget:
    """The accounts of one upstream. ``who`` tells one login from another; ``chance`` is the jitter."""

    def __init__(
        self,
        name: str,
        first: Origin,
        clock: IReactorTime,
        wall: Callable[[], float],
        who: Callable[[], int],
        chance: Callable[[], float],
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """``first`` is the origin of the endpoint whose limit is the upstream's; ``look`` begins to ask it
        something that costs nothing, whose answer says what is left."""
        self._ask_what_is_left = look
        self._asked_s = float("-inf")
        self._name = name
        self._first = first
        self._clock = clock
        self._wall = wall
        self._who = who
        self._chance = chance
        self._stopped_as = 0
        self._looked_s = float("-inf")
        self._accounts: dict[Origin, _Account] = {}
        self._told: tuple[Allowance, float] | None = None
        """What was said of the allowance, and until when that holds."""

    def __repr__(self) -> str:
        return f"<Budget {self._name} {self._accounts}>"

    def allowance(self) -> Allowance:
        """As :meth:`IRemoteRegistry.allowance`; at most a second old."""
        now_s = self._clock.seconds()
        told = self._told
        if told is None or not told[1] - 1.0 <= now_s < told[1]:
            told = self._told = self._look(now_s), now_s + 1.0
            if told[0].thrift >= Thrift.STALE:
                self._find_out(now_s)
        return told[0]

    def _find_out(self, now_s: float) -> None:
        """Ask what is left, where the last word is old."""
        account = self._accounts.get(self._first)
        if account is None or account.throttle.left_s(Lane.LOOK):
            return
        every_s = max(LOOK_EVERY_S, (account.ledger.window_s or 0.0) / LOOKS)
        last_s = max(account.ledger.reported_s, self._asked_s)
        if account.ledger.remaining is None or 0.0 <= now_s - last_s < every_s:
            return
        self._asked_s = now_s
        self._ask_what_is_left()

    def _look(self, now_s: float) -> Allowance:
        account = self._accounts.get(self._first)
        if account is None:
            return Allowance()
        ledger = account.ledger
        stopped_s = account.throttle.left_s(Lane.MANIFEST)
        left = ledger.left(now_s)
        return Allowance(
            Thrift.EMPTY if stopped_s else accounts.thrift(ledger, now_s),
            ledger.limit,
            left if left is not None else ledger.limit,
            ledger.window_s,
            None if left is None else self._wall() + ledger.resets_s - now_s,
            stopped_s or None,
            ledger.hours_left(now_s),
        )

    async def ask(self, method: str, kind: str, origin: Origin, send: Callable[[], Awaitable[T]]) -> T:
        """What ``send`` brings; :exc:`Throttled` from memory, without a question, where a 429 stops it."""
        lane = lane_of(method, kind)
        if lane is None:
            return await send()
        account = await self._enter(origin, lane)
        if lane is Lane.MANIFEST:
            account.under_way += 1
            self._enters(account, accounts.spent(account.ledger, self._clock.seconds()))
        try:
            answer = await send()
        except Throttled as error:  # of its token server
            account.throttle.refused(lane, error.retry_after_s)
            self._stopped_as, self._looked_s, self._told = self._who(), self._clock.seconds(), None
            raise
        except UpstreamRefused:  # without a token nothing is counted
            account.throttle.left_alone(lane)
            if lane is Lane.MANIFEST:
                self._enters(account, accounts.unspent(account.ledger))
            raise
        except BaseException:
            account.throttle.left_alone(lane)
            raise
        finally:
            account.under_way -= lane is Lane.MANIFEST
        report = None
        if kind == "manifest" and answer.origin == origin:  # a stranger's limit is not ours
            report = read_limits(answer.headers, self._wall())
        self._judge(account, lane, answer, report)
        return answer

    async def _enter(self, origin: Origin, lane: Lane) -> _Account:
        while True:
            account = self._accounts.get(origin)
            if account is None:
                account = self._accounts[origin] = _Account(Throttle(self._clock, self._chance))
            stopped = await account.throttle.enter(lane)
            if stopped is None:
                return account
            if not self._is_another_login():
                raise self._remembered(origin, lane, stopped)
            self._accounts.clear()
            self._told = None

    def _remembered(self, origin: Origin, lane: Lane, stopped: Stopped) -> Throttled:
        retry_s = stopped.retry_s
        reason = f"{origin.host} allows no more {lane.value} for now; it is asked again in {retry_s} s"
        error = Throttled(self._name, reason, retry_s, remembered=True)
        error.status = 429 if stopped.refused else None
        return error

    def _is_another_login(self) -> bool:
        """Whether the login is another one than that which was refused; seldom looked at."""
        if 0.0 <= self._clock.seconds() - self._looked_s < LOGIN_S:
            return False
        self._looked_s = self._clock.seconds()
        found = self._who()
        changed, self._stopped_as = found != self._stopped_as, found
        return changed

    def _judge(self, account: _Account, lane: Lane, answer: Heard, report: LimitReport | None) -> None:
        now_s = self._clock.seconds()
        wish_s = retry_after_s(answer.header("Retry-After"), self._wall()) if answer.status == 429 else None
        if wish_s is None and report is not None and report.remaining == 0:
            wish_s = report.reset_s
        if report is not None and report.is_brake:
            report = None
        if report is not None and report.remaining is not None:
            account.silent = 0
            account.heads_tell = account.heads_tell or lane is Lane.LOOK
        elif answer.status in (200, 304) and self._should_tell(account, lane, answer):
            account.silent += 1
            if account.silent >= SILENT:
                self._enters(account, Ledger())
        if report is not None:
            self._enters(account, accounts.reported(account.ledger, report, now_s, account.under_way))
        if answer.status == 429:
            account.throttle.refused(lane, wish_s)
        else:
            account.throttle.answered(lane)
        self._follow(account, report, now_s)
        if answer.status == 429 or (report is not None and report.remaining == 0):
            self._stopped_as, self._looked_s = self._who(), now_s
        self._told = None

    def _should_tell(self, account: _Account, lane: Lane, answer: Heard) -> bool:
        """Whether answers like this one have told what is left: who has no limit has no such headers."""
        asked_here = self._accounts.get(answer.origin) is account
        told = account.ledger.remaining is not None
        return told and asked_here and (lane is Lane.MANIFEST or (lane is Lane.LOOK and account.heads_tell))

    def _follow(self, account: _Account, report: LimitReport | None, now_s: float) -> None:
        """Stop what costs where nothing is left, let it go where there is something again."""
        if report is None or report.remaining is None:
            return
        if report.remaining:
            account.throttle.resume(Lane.MANIFEST)
        else:
            account.throttle.stop(Lane.MANIFEST, max(1.0, min(account.ledger.resets_s - now_s, TRY_S)))

    def _enters(self, account: _Account, ledger: Ledger) -> None:
        account.ledger = ledger
        self._told = None
