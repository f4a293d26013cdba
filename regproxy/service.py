"""The composition root's life: settings and a reactor in, one service out, begun and ended here.

Laws: nothing is touched before the service is started, since twistd forks after building it. A
start that cannot be whole ends the process with one line; it never leaves a deaf daemon. Once the
reactor runs, ending with a code goes through :meth:`MirrorService.fail`. The end comes within
10 s: ``DRAIN_S`` for responses, ``CLOSE_S`` for each of transfers, state and store, then the hard way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any, Protocol

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from regproxy import __version__, compose, logs
from regproxy.access.forwarded import TrustedProxies
from regproxy.admin.door import Door
from regproxy.admin.figures import metrics
from regproxy.admin.health import healthz, readyz
from regproxy.admin.pages import Page
from regproxy.admin.site import AdminSite
from regproxy.admin.status import status
from regproxy.behind import Behind
from regproxy.errors import RegproxyError, StorageFailed
from regproxy.expiry.freezing import freeze
from regproxy.file_limit import connections_that_fit, raise_file_limit
from regproxy.gauges import show_readiness
from regproxy.listeners import CannotListen, described, listen_now
from regproxy.operations import door
from regproxy.overview import overview
from regproxy.settings import Settings
from regproxy.signals import Signals
from regproxy.storage.opening import open_store
from regproxy.storage.survey import Survey
from regproxy.switching import switch_soon
from regproxy.web.access_log import Sink
from regproxy.web.site import BoundListener

STOPPING = "it is stopping"
DRAIN_S = 5.0
DRAIN_STEP_S = 0.1
CLOSE_S = 1.4
END_S = 9.5


class IStoreLife(Protocol):
    """What the service must know of a store, to begin and to end it."""

    def survey(self) -> Deferred[Survey]:
        """Look at what is there, in slices, behind the serving daemon."""

    def close(self) -> Deferred[None]:
        """Finish what is queued, then let go of the folder."""


Opener = Callable[[Path, Any, Callable[[], float]], IStoreLife]
Composer = Callable[[Settings, Any, Any, Callable[[], float], Sink | None], compose.Mirror]


class MirrorService(MultiService):
    """regproxy as a whole. ``wall`` gives seconds since the epoch.

    ``daemonised``: there is no standard output but the log. ``log_apart``: the log goes elsewhere
    than to who started this, so that a refused start is told to both.
    ``exit_process`` ends the process at once with a code.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        wall: Callable[[], float],
        *,
        daemonised: bool = False,
        log_apart: bool = False,
        opener: Opener = open_store,
        composer: Composer = compose.build_mirror,
        exit_process: Callable[[int], object] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._settings = settings
        self._reactor = reactor
        self._wall = wall
        self._daemonised = daemonised
        self._log_apart = log_apart
        self._exit_process = exit_process
        self._proxies = TrustedProxies(settings.access.trusted_proxies)
        self._open_store = opener
        self._compose = composer
        self._store: IStoreLife | None = None
        self._mirror: compose.Mirror | None = None
        self._ports: list[IListeningPort] = []
        self._bound: dict[IListeningPort, str] = {}
        self._admin_ports: list[IListeningPort] = []
        self._behind = Behind(settings, reactor)
        self._begun_s = 0.0
        self._signals = Signals(reactor)
        self._ending = False
        self._closed = False

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        return f"<MirrorService {state} ports={[*map(described, self._ports)]}>"

    # -- begin --

    def startService(self) -> None:
        """Have the folder and every socket, or end the process with one line (invariant 6)."""
        try:
            self._begin()
        except (RegproxyError, OSError) as error:
            self._refuse(error)
        super().startService()  # type: ignore[no-untyped-call]
        self._signals.listen()
        self._reactor.callWhenRunning(self._run)

    def _begin(self) -> None:
        self._settings = self._fitted(raise_file_limit())
        switch_soon()
        freeze()  # the program itself
        Factory.noisy = False  # two lines for each connection to an upstream, otherwise
        self._begun_s = self._reactor.seconds()
        self._store = self._store_opened()
        self._mirror = mirror = self._compose(
            self._settings, self._store, self._reactor, self._wall, self._open_access_log()
        )
        for description in self._settings.listen:
            self._listen(mirror, description, mirror.factory)
        for upstream in self._settings.upstreams:
            for description in upstream.listen:
                port = self._listen(mirror, description, BoundListener(mirror.factory, upstream.name))
                self._bound[port] = upstream.name
        show_readiness(mirror.figures, self._reasons, self._wall())
        pages, operations = self._pages(mirror), door(self._settings, mirror, self._reactor)
        for description in self._settings.admin:
            self._listen_admin(description, self._admin_site(pages, operations))

    def _admin_site(self, pages: dict[str, Page], operations: Door) -> AdminSite:
        """One for each listener: who crowds one keeps nobody out of another."""
        access, limits = self._settings.access, self._settings.limits
        return AdminSite(pages, access.networks, self._reactor, limits, operations, self._proxies)

    def _fitted(self, files: int) -> Settings:
        """The settings, with no more connections than ``files`` are enough for."""
        limits, fit = self._settings.limits, connections_that_fit(files)
        if limits.connections <= fit:
            return self._settings
        warning = (
            f"limits.connections: {limits.connections} do not fit into {files} open files, since each may "
            f"need two: {fit} are let in; raise the limit of open files (LimitNOFILE in a unit file)"
        )
        return attrs.evolve(
            self._settings,
            limits=attrs.evolve(limits, connections=fit),
            warnings=(*self._settings.warnings, warning),
        )

    def _store_opened(self) -> IStoreLife:
        root = self._settings.storage.root
        try:
            return self._open_store(root, self._reactor, self._wall)
        except StorageFailed as error:
            raise StorageFailed(f"storage.root {root}: {error}") from error

    def _open_access_log(self) -> Sink | None:
        where = self._settings.log.access
        try:
            return logs.open_access_log(where, self._daemonised)
        except OSError as error:
            raise StorageFailed(f"the access log cannot be written: {where}: {error.strerror}") from None

    def _listen(self, mirror: compose.Mirror, description: str, factory: IProtocolFactory) -> IListeningPort:
        port = listen_now(self._reactor, description, factory, proxies=self._proxies)
        mirror.prepare(port)
        self._ports.append(port)
        return port

    def _listen_admin(self, description: str, admin: AdminSite) -> None:
        """A default admin socket that cannot be had is a warning, a written one ends the start."""
        try:
            self._admin_ports.append(listen_now(self._reactor, description, admin, "660", self._proxies))
        except CannotListen as error:
            if self._settings.admin_written:
                raise
            self.log.warn("No admin listener: {error}", error=str(error))

    def _refuse(self, error: Exception) -> None:
        line = f"regproxy: {' '.join(str(error).split())}"
        if self._log_apart:
            self.log.critical("{line}", line=line)
        print(line, file=sys.__stderr__, flush=True)
        for port in (*self._ports, *self._admin_ports):
            port.stopListening()
        if self._daemonised:
            # twistd's parent waits for an Exception, for ever; its traceback would follow our line
            sys.excepthook = lambda *_: None
            raise RuntimeError(line) from error
        raise SystemExit(1) from error

    def _announce(self) -> None:
        settings = self._settings
        upstreams = (f"{up.name} (default)" if up.default else up.name for up in settings.upstreams)
        for warning in settings.warnings:
            self.log.warn("{warning}", warning=warning)
        self.log.info(
            "regproxy {version} serves on {listen}, admin on {admin}; mirrors {upstreams}; "
            "keeps content in {root}; settings: {source}",
            version=__version__,
            listen=", ".join(map(self._described, self._ports)),
            admin=", ".join(map(described, self._admin_ports)) or "nothing",
            upstreams=", ".join(upstreams),
            root=str(settings.storage.root),
            source=str(settings.source or "built-in"),
        )

    def _described(self, port: IListeningPort) -> str:
        name = self._bound.get(port)
        return described(port) if name is None else f"{described(port)} (for {name})"

    # -- run --

    def _pages(self, mirror: compose.Mirror) -> dict[str, Page]:
        """What operators may ask for."""
        return {
            "/healthz": healthz(self._status),
            "/readyz": readyz(self._reasons, mirror.warnings),
            "/metrics": metrics(mirror.figures.registry, self._reactor),
            "/status": status(
                overview(self._settings, mirror, self._uptime_s, self._reasons, self._reactor, self._wall)
            ),
        }

    def _reasons(self) -> list[str]:
        """Why clients should not be sent here now."""
        found = [STOPPING] if self._ending else []
        return found if self._mirror is None else [*found, *self._mirror.reasons()]

    def _status(self) -> dict[str, object]:
        return {"version": __version__, "uptime_s": int(self._uptime_s())}

    def _uptime_s(self) -> float:
        return float(self._reactor.seconds() - self._begun_s)

    def _run(self) -> None:
        """Say so, then do what nobody waits for (invariant 6)."""
        if not self.running or self._mirror is None or self._store is None:
            return
        self._signals.running()
        self._announce()
        self._behind.begin(self._mirror, self._store.survey)

    def fail(self, line: str, code: int = 1) -> None:
        """End the running daemon with ``code``, since SystemExit within the reactor is swallowed."""
        self.log.critical("{line}", line=line)
        self._reactor.addSystemEventTrigger("after", "shutdown", self._leave, code)
        self._reactor.stop()

    def _leave(self, code: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if self._exit_process is not None:
            self._exit_process(code)

    # -- end --

    def stopService(self) -> Deferred[None]:
        """Stop listening, let responses go on for a while, then close everything."""
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        self._ending = True
        self._signals.ending()
        self._arm_last_resort()
        self.log.info("regproxy ends: no new connections")
        self._behind.end()
        ports, self._ports = self._ports, []
        await DeferredList([_stop_listening(port) for port in ports], consumeErrors=True)
        if self._mirror is not None:
            await self._drain(self._mirror)
        ports, self._admin_ports = self._admin_ports, []  # until here operators are told that it stops
        await DeferredList([_stop_listening(port) for port in ports], consumeErrors=True)
        if self._mirror is not None:
            await self._bounded("transfers", self._mirror.stop())
            await DeferredList([*self._closing(self._mirror)], consumeErrors=True)
        if self._store is not None:
            await self._bounded("the store", self._store.close())
        await maybeDeferred(super().stopService)
        if self._exit_process is None:
            self._signals.restore()
        self._closed = True
        self.log.info("regproxy has ended")

    def _closing(self, mirror: compose.Mirror) -> Iterator[Deferred[None]]:
        """What has ends of its own, together."""
        closing = [remote.close() for remote in mirror.remotes.values()]
        yield Deferred.fromCoroutine(self._bounded("upstreams", DeferredList(closing, consumeErrors=True)))
        if mirror.caretaker is not None:
            ending = Deferred.fromCoroutine(mirror.caretaker.end())
            yield Deferred.fromCoroutine(self._bounded("the scrub", ending))
        if mirror.expiry is not None:
            ending = Deferred.fromCoroutine(mirror.expiry.end())
            yield Deferred.fromCoroutine(self._bounded("the state", ending))

    async def _drain(self, mirror: compose.Mirror) -> None:
        deadline_s = self._reactor.seconds() + DRAIN_S
        while mirror.responses() and self._reactor.seconds() < deadline_s:
            waiting: Deferred[None] = Deferred()
            self._reactor.callLater(DRAIN_STEP_S, waiting.callback, None)
            await waiting
        if mirror.responses():
            self.log.info("{count} responses are cut off", count=mirror.responses())

    async def _bounded(self, what: str, closing: Deferred[Any]) -> None:
        """Wait for it, but not longer than CLOSE_S: the end must come."""
        try:
            await closing.addTimeout(CLOSE_S, self._reactor)
        except TimeoutError:
            self.log.error("Closing {what} took longer than {limit} s", what=what, limit=CLOSE_S)
        except RegproxyError as error:
            self.log.error("Closing {what} failed: {error}", what=what, error=str(error))

    def _arm_last_resort(self) -> None:
        """A thread that hangs in a name lookup or on a dead disk would keep the process for ever."""
        if self._exit_process is not None:
            timer = Timer(END_S, lambda: self._exit_process and self._exit_process(0 if self._closed else 1))
            timer.daemon = True
            timer.start()


def _stop_listening(port: IListeningPort) -> Deferred[Any]:
    return maybeDeferred(port.stopListening)
