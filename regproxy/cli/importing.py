"""What ``regproxy import`` does: another store's content, or a layout's, into the mirror's own folder."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click

from regproxy.cli.amounts import plural, size_text
from regproxy.cli.audit import note
from regproxy.cli.document import PROGRAM
from regproxy.cli.interruption import INTERRUPTED
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import FAILED, NOTHING, REFUSED
from regproxy.cli.progress import Bar
from regproxy.cli.running import Interrupted, run_to_end
from regproxy.errors import InvalidRequest, RegproxyError, UnknownUpstream
from regproxy.moving.holdings import RepositoryFiles
from regproxy.moving.importing import Counts, Importer, Load, foresee, weigh
from regproxy.moving.naming import Naming
from regproxy.moving.shipment import NotTaken, Remarks, Shipment
from regproxy.moving.sources import open_source
from regproxy.settings import Settings
from regproxy.standalone import FolderInUse, held_bytes, with_store
from regproxy.storage.layout import Layout
from regproxy.worker import Worker

BUSY = 9
"""Exit code: a daemon has the folder."""
READS = "regproxy-import"


def run(source: Path, named: str | None, settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    """Do it, tell what came of it; the exit code."""
    try:
        with closing(_read(source, settings, named)) as shipment:
            job = Job(settings, shipment, dry_run)
            try:
                job.run()
            finally:
                if not dry_run:
                    note("import", f"{source} as {named or 'its names say'}", summary(job))
    except (Interrupted, KeyboardInterrupt):
        click.echo("regproxy: interrupted; the same command goes on from here", err=True)
        return INTERRUPTED
    for line in [json.dumps(document(job, source))] if as_json else told(job, source):
        click.echo(line)
    for line in [*job.wrong.first, *_more(job.wrong), *filter(None, [job.error])]:
        click.echo(f"regproxy: {harmless(line)}", err=True)
    return _code(job)


def summary(job: Job) -> str:
    """What came of it so far, for the log."""
    counts = job.counts
    line = (
        f"{counts.tags} tags, {counts.manifests} manifests, {counts.blobs} blobs, {job.wrong.count} left out"
    )
    return line if job.error is None else f"{line}; then {job.error}"


def _read(source: Path, settings: Settings, named: str | None) -> Shipment:
    try:
        return open_source(source, Naming(settings.upstreams, named))
    except (NotTaken, InvalidRequest, UnknownUpstream) as error:
        line = str(error)
    except OSError as error:
        line = f"it cannot be read: {error.strerror or error}"
    click.echo(f"regproxy: {harmless(str(source))}: {harmless(line)}", err=True)
    raise SystemExit(REFUSED)


class Job:
    """One import, and what came of it."""

    def __init__(
        self,
        settings: Settings,
        shipment: Shipment,
        dry_run: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._wall = wall
        self._settings = settings
        self._shipment = shipment
        self.dry_run = dry_run
        self.counts = Counts()
        self.wrong: Remarks = shipment.remarks
        self.error: str | None = None
        self.busy = False

    def run(self) -> None:
        """To its end, good or bad. Interrupted."""
        try:
            if self.dry_run:
                self._foresee()
            else:
                run_to_end(self.work)
        except FolderInUse as error:
            self.busy = True
            self.error = (
                f"{error}: an import needs it alone; stop the daemon (systemctl stop regproxy), import, and "
                "start it again"
            )
        except RegproxyError as error:
            came = "; what has come stays, and the same command goes on" if _new(self.counts) else ""
            self.error = f"{error.message}{came}"
        except OSError as error:
            self.error = f"the source cannot be read: {error.strerror}"

    def _foresee(self) -> None:
        root = self._settings.storage.root
        load = weigh(self._shipment, held_bytes(root))
        self.counts = foresee(self._shipment, load, partial(RepositoryFiles, Layout(root)))

    async def work(self, reactor: Any) -> None:
        """Not foreseen, done. StorageFailed; cancelling it ends it cleanly."""
        await with_store(self._settings, reactor, self._wall, partial(self._take, reactor))

    async def _take(self, reactor: Any, store: Any, ceiling: Any) -> None:
        reader = Worker(reactor, READS)
        try:
            load: Load = await reader.run(weigh, self._shipment, store.holds)
            ceiling.check(load.coming_bytes)
            if any(map(store.revoked_s, self._shipment.repositories)):
                await store.survey()  # until one has ended a revocation may outlive what is linked after it
            bar = Bar(sys.stderr, os.environ, "import", sum(load.sizes.values()))
            importer = Importer(store, reader, self._wall, bar.moved, self.wrong)
            self.counts = importer.counts
            try:
                await importer.run(self._shipment, load)
            finally:
                bar.end()
        finally:
            await reader.stop()


def _code(job: Job) -> int:
    if job.busy:
        return BUSY
    if job.error is not None or job.wrong.count:
        return FAILED
    return 0 if _new(job.counts) else NOTHING


def _new(counts: Counts) -> bool:
    return bool(counts.blobs or counts.manifests or counts.tags)


def _more(wrong: Remarks) -> Iterator[str]:
    if wrong.count > len(wrong.first):
        yield f"and {wrong.count - len(wrong.first)} more like these"


def told(job: Job, source: Path) -> Iterator[str]:
    """What came, for people."""
    counts, name = job.counts, harmless(str(source))
    if not _new(counts) and job.error is None:
        came = f"of it {_comes(job)}: {plural(job.wrong.count, 'thing')} left out"
        yield f"{name}: nothing {came if job.wrong.count else 'new is in it'}"
    elif _new(counts):
        what = [
            plural(number, word)
            for number, word in [
                (counts.tags, "tag"),
                (counts.manifests, "manifest"),
                (counts.blobs, "blob"),
            ]
            if number
        ]
        where = f" of {_repositories(counts.repositories)}" if counts.repositories else ""
        size = size_text(counts.copied_bytes + counts.cloned_bytes)
        yield f"{name}: {', '.join(what)}{where} {_comes(job)}, {size}"
    if counts.cloned_bytes:
        yield f"  {size_text(counts.cloned_bytes)} of these are shared with it, and take no room yet"
    if counts.there:
        yield f"  {plural(counts.there, 'blob')} ({size_text(counts.there_bytes)}) were here already"
    if counts.kept_tags:
        yield f"  {plural(counts.kept_tags, 'tag')} stay as they are, confirmed here since"
    if counts.missing:
        yield f"  {counts.missing} things that it names are not in it: a pull fetches them"


def _comes(job: Job) -> str:
    return "would come" if job.dry_run else "came"


def _repositories(number: int) -> str:
    return "1 repository" if number == 1 else f"{number} repositories"


def document(job: Job, source: Path) -> dict[str, object]:
    """The same for programs."""
    return {
        "program": PROGRAM,
        "version": 1,
        "action": "import",
        "source": str(source),
        "dry_run": job.dry_run,
        **attrs.asdict(job.counts),
        "wrong": job.wrong.count,
        "listed": list(job.wrong.first),
        **({} if job.error is None else {"error": job.error}),
    }
