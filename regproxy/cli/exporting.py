"""What ``regproxy export`` does: images out of the mirror's folder, into an OCI image layout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import click

from regproxy.admin.names import ImageNames
from regproxy.cli.amounts import plural, size_text
from regproxy.cli.document import PROGRAM
from regproxy.cli.interruption import INTERRUPTED, interruptible
from regproxy.cli.lines import harmless
from regproxy.cli.ordering import FAILED, NOTHING, REFUSED
from regproxy.cli.progress import Bar
from regproxy.errors import InvalidRequest, StorageFailed
from regproxy.moving.exporting import IncompleteImage, Whole, whole
from regproxy.moving.holdings import RepositoryFiles, chunks
from regproxy.moving.writing import CannotWrite, Named, Taken, check_free, write
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference
from regproxy.settings import Settings
from regproxy.storage.layout import Layout

TOLD_PLATFORMS = 8


def run(images: Sequence[str], target: Path, settings: Settings, *, dry_run: bool, as_json: bool) -> int:
    """Do it, tell what came of it; the exit code."""
    layout, job = Layout(settings.storage.root), _Job(target, dry_run)
    try:
        with interruptible():
            job.gather(layout, [ImageNames(settings.upstreams).parse(image) for image in images])
            if job.found and dry_run:
                check_free(target)
            elif job.found:
                job.write(layout)
    except InvalidRequest as error:
        job.fail(error.message, REFUSED)
    except CannotWrite as error:
        job.fail(str(error), REFUSED if isinstance(error, Taken) else FAILED)
    except StorageFailed as error:
        job.fail(error.message, FAILED)
    except OSError as error:
        job.fail(f"{layout.root} cannot be read: {error.strerror}", FAILED)
    except KeyboardInterrupt:
        job.fail("interrupted; nothing is left of it", INTERRUPTED)
    for line in [json.dumps(document(job))] if as_json else told(job):
        click.echo(line)
    for line in [*job.lacking, *filter(None, [job.error])]:
        click.echo(f"regproxy: {harmless(line)}", err=True)
    return job.code


class _Job:
    """One export, and what came of it."""

    def __init__(self, target: Path, dry_run: bool) -> None:
        self.target = target
        self.dry_run = dry_run
        self.found: dict[str, Whole] = {}
        self.lacking: list[str] = []
        self.error: str | None = None
        self._code: int | None = None

    @property
    def code(self) -> int:
        """For the shell."""
        if self._code is not None:
            return self._code
        if not self.found:
            return NOTHING
        return FAILED if self.lacking else 0

    def fail(self, line: str, code: int) -> None:
        """It ended here."""
        self.error, self._code = line, code

    @property
    def contents(self) -> dict[Digest, int]:
        """All that is to be written, each content once."""
        return {digest: size for image in self.found.values() for digest, size in image.contents.items()}

    def gather(self, layout: Layout, names: Sequence[tuple[Repository, Reference | None]]) -> None:
        """Look for what is meant. StorageFailed."""
        if not layout.version.is_file():
            raise StorageFailed(f"no content of regproxy lies in {layout.root}: --config names the settings")
        for repository, reference in names:
            held = RepositoryFiles(layout, repository)
            meant = held.tags() if reference is None else (reference,)
            if not meant:
                self.lacking.append(f"{repository}: no tag of it is here")
            for each in meant:
                self._image(held, each)

    def _image(self, held: RepositoryFiles, reference: Reference) -> None:
        is_digest = isinstance(reference, Digest)
        name = f"{held.repository}{'@' if is_digest else ':'}{reference}"
        digest = reference if isinstance(reference, Digest) else held.tagged(reference)
        if digest is None:
            self.lacking.append(f"{name}: it is not here")
            return
        try:
            self.found[name] = whole(held, digest)
        except IncompleteImage as error:
            self.lacking.append(f"{name}: {error}")

    def write(self, layout: Layout) -> None:
        """CannotWrite, StorageFailed, KeyboardInterrupt: nothing is left of it then."""
        contents = self.contents
        bar = Bar(sys.stderr, os.environ, "export", sum(contents.values()))
        images = [Named(name, image.descriptor) for name, image in self.found.items()]
        try:
            write(self.target, images, contents, partial(_shown, bar, layout))
        finally:
            bar.end()


def _shown(bar: Bar, layout: Layout, digest: Digest, size_bytes: int) -> Iterator[bytes]:
    for chunk in chunks(layout, digest, size_bytes):
        bar.moved(len(chunk))
        yield chunk


def told(job: _Job) -> Iterator[str]:
    """What was written, for people."""
    if job.error is not None:
        return
    for name, image in sorted(job.found.items()):
        yield f"{name}: {size_text(sum(image.contents.values()))}"
        if image.missing:
            more = len(image.missing) - TOLD_PLATFORMS
            listed = [*image.missing[:TOLD_PLATFORMS], *([f"{more} more"] if more > 0 else [])]
            yield f"  without {', '.join(listed)}: not here whole"
    if job.found:
        size, where = size_text(sum(job.contents.values())), harmless(str(job.target))
        to = "would be written to" if job.dry_run else "written to"
        yield f"{plural(len(job.found), 'image')}, {size}, {to} {where}"


def document(job: _Job) -> dict[str, object]:
    """The same for programs."""
    return {
        "program": PROGRAM,
        "version": 1,
        "action": "export",
        "target": str(job.target),
        "dry_run": job.dry_run,
        "images": [
            {
                "image": name,
                "digest": str(image.descriptor.digest),
                "size_bytes": sum(image.contents.values()),
                "missing": list(image.missing),
            }
            for name, image in sorted(job.found.items())
        ],
        "bytes": sum(job.contents.values()),
        "lacking": job.lacking,
        **({} if job.error is None else {"error": job.error}),
    }
