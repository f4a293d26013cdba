"""What ``twistd regproxy`` understands: options in, a service out.

Nothing here, nor what it imports at once, touches a reactor: ``python -m twisted`` installs its
own after the options were read. twistd forks after :func:`makeService`, so that only builds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.application.service import IService
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from regproxy import __version__, logs
from regproxy.config import ConfigError, load
from regproxy.settings import Settings


class Options(UsageOptions):
    """The options of ``regproxy``. Bad ones end the process with a line each and code 1."""

    synopsis = "[--config FILE]"
    longdesc = "A pull-through mirror for container registries. Without a file: built-in settings."
    optParameters = [
        ["config", "c", None, "Settings, a YAML file [default: $REGPROXY_CONFIG, else built-in settings]"],
    ]
    settings: Settings

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """As usual, but without a page of usage in front of the one line that matters."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except UsageError as error:
            raise SystemExit(f"regproxy: {error} (regproxy --help lists the options)") from None

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"regproxy {__version__}")
        sys.exit(0)

    def postOptions(self) -> None:
        """Read the settings, and let the log take the form that they want."""
        path = self["config"] or os.environ.get("REGPROXY_CONFIG") or None
        try:
            self.settings = load(Path(path) if path else None, os.environ)
        except ConfigError as error:
            raise SystemExit("\n".join(map(str, error.problems))) from None
        if self.parent is not None:
            logs.choose(self.settings.log.format, self.parent)


def makeService(options: Options) -> IService:
    """The whole daemon, not started: no file, no socket and no thread is touched yet."""
    from twisted.internet import reactor

    from regproxy.service import MirrorService

    # Twisted's own is the wall clock: set back, it would stop every timer for as long
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    parent: Mapping[str, object] = options.parent or {}
    daemonised = not parent.get("nodaemon", True)
    logfile = parent.get("logfile") or "-"
    if not daemonised:
        sys.stdout = logs.standard_output() or sys.stdout  # twistd takes it for its log after this
    service: IService = MirrorService(
        options.settings,
        reactor,
        time.time,
        daemonised=daemonised,
        log_apart=daemonised or bool(parent.get("syslog")) or logfile != "-",
        exit_process=os._exit,
    )
    return service
