"""The operations ``warm`` and ``refresh``, which begin a job, and ``job``, which tells how far one is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from regproxy.admin.door import Action, Body, Outcome, fields
from regproxy.admin.inventory import MAX_NAME, PROGRAM, read_wanted
from regproxy.admin.names import ImageNames
from regproxy.errors import InvalidRequest
from regproxy.inventory.images import Wanted
from regproxy.inventory.jobs import Job, Jobs
from regproxy.inventory.looking import Looking
from regproxy.inventory.progress import Layer
from regproxy.inventory.warming import Errand, Platforms, Warming
from regproxy.oci.platforms import ALL, Platform
from regproxy.oci.tag import Tag

MAX_IMAGES = 500
MAX_PLATFORMS = 20
MAX_LAYERS = 100
LATEST = Tag.parse("latest")


@attrs.frozen(slots=True)
class WarmRequest:
    """``dry_run``: only say what would be fetched."""

    errands: Sequence[Errand]
    dry_run: bool

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.errands[:5]))
        more = f" and {len(self.errands) - 5} more" if len(self.errands) > 5 else ""
        return f"{shown}{more}{' (dry run)' if self.dry_run else ''}"


def warm_action(warming: Warming, jobs: Jobs, names: ImageNames) -> Action[WarmRequest]:
    """The row for the door's table."""

    def read(body: Body) -> WarmRequest:
        known = fields(body, ("images", "platforms", "dry_run"))
        images = _texts(known.get("images"), MAX_IMAGES)
        platforms = read_platforms(known.get("platforms"))
        if not images:
            raise InvalidRequest(f"expected images, 1 to {MAX_IMAGES} names")
        errands = []
        for number, image in enumerate(images, 1):
            try:
                repository, reference = names.parse(image)
            except InvalidRequest as error:
                raise InvalidRequest(f"name {number} of the list: {error.message}") from None
            errands.append(Errand(repository, reference or LATEST, platforms))
        return WarmRequest(tuple(dict.fromkeys(errands)), _dry_run(known))

    async def carry_out(asked: WarmRequest) -> Outcome:
        return begin(jobs, warming, "warm", asked.errands, asked.dry_run)

    return Action(read, carry_out)


@attrs.frozen(slots=True)
class RefreshRequest:
    """Which cached tags are asked about. ``dry_run``: only say which."""

    wanted: tuple[Wanted, ...]
    dry_run: bool

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.wanted[:5]))}{' (dry run)' if self.dry_run else ''}"


def refresh_action(
    looking: Looking, warming: Warming, jobs: Jobs, names: ImageNames
) -> Action[RefreshRequest]:
    """The row for the door's table."""

    def read(body: Body) -> RefreshRequest:
        known = fields(body, ("images", "dry_run"))
        patterns = _texts(known.get("images"), MAX_IMAGES)
        wanted = tuple(read_wanted(pattern, names) for pattern in patterns)
        if not wanted or any(each.digest or (each.pattern and each.pattern.digest) for each in wanted):
            raise InvalidRequest("expected images: names of cached tags, with * and ? for signs")
        return RefreshRequest(wanted, _dry_run(known))

    async def carry_out(asked: RefreshRequest) -> Outcome:
        tags = await looking.tags(*asked.wanted)
        errands = tuple(Errand(repository, tag, confirm=True) for repository, tag in tags)
        return begin(jobs, warming, "refresh", errands, asked.dry_run)

    return Action(read, carry_out)


def begin(jobs: Jobs, warming: Warming, action: str, errands: Sequence[Errand], dry_run: bool) -> Outcome:
    """A job for ``errands``; no job where there is nothing to do, or nothing is to be done."""
    answer = {
        **PROGRAM,
        "action": action,
        "dry_run": dry_run,
        "count": len(errands),
        "listed": [str(errand) for errand in errands[:MAX_LAYERS]],
        "job": None,
    }
    if dry_run or not errands:
        return Outcome(f"{len(errands)} images {'would be asked for' if dry_run else 'are meant'}", answer)
    job = jobs.begin(
        action, len(errands), lambda progress: Deferred.fromCoroutine(warming.run(errands, progress))
    )
    return Outcome(f"job {job.number} for {len(errands)} images", {**answer, "job": job.number})


@attrs.frozen(slots=True)
class JobRequest:
    """``cancel``: end it."""

    number: int
    cancel: bool

    def __str__(self) -> str:
        return f"job {self.number}{' (cancel)' if self.cancel else ''}"


def job_action(jobs: Jobs) -> Action[JobRequest]:
    """The row for the door's table; a look has no line in the log, an end has its own."""

    def read(body: Body) -> JobRequest:
        known = fields(body, ("job", "cancel"))
        number, cancel = known.get("job"), known.get("cancel")
        if type(number) is not int or not isinstance(cancel, bool | None):
            raise InvalidRequest("expected job, a number, and perhaps cancel, true or false")
        return JobRequest(number, cancel is True)

    async def carry_out(asked: JobRequest) -> Outcome:
        job = jobs.get(asked.number)
        if job is None:
            raise InvalidRequest("there is no such job (any more): the daemon was started anew, or it ended")
        if asked.cancel:
            jobs.cancel(job)
        return Outcome(job.state, job_document(job))

    return Action(read, carry_out, quiet=True)


def job_document(job: Job) -> dict[str, object]:
    """How far it is; of layers the first MAX_LAYERS, those first that are on their way."""
    progress = job.progress
    error = {} if job.error is None else {"error": job.error}
    return {
        **PROGRAM,
        "action": job.action,
        "job": job.number,
        "state": job.state,
        "images": progress.images,
        "done": progress.done,
        "failed": progress.failed,
        "moved": progress.moved,
        "fetched_bytes": progress.fetched_bytes,
        "present": progress.present,
        "waits": progress.waits,
        "layers": [_layer(each) for each in sorted(progress.layers, key=_turn)[:MAX_LAYERS]],
        "layer_count": len(progress.layers),
        "present_bytes": sum(each.front_bytes for each in progress.layers),
        "present_size_bytes": sum(each.size_bytes for each in progress.layers),
        "failures": [{"image": image, "why": why[:300]} for image, why in progress.failures],
        **error,
    }


def _turn(layer: Layer) -> int:
    return ("fetching", "failed", "waiting", "here").index(layer.stage.value)


def _layer(layer: Layer) -> dict[str, object]:
    return {
        "digest": str(layer.digest),
        "size_bytes": layer.size_bytes,
        "front_bytes": layer.front_bytes,
        "state": layer.stage.value,
    }


def read_platforms(texts: Any) -> Platforms:
    """None said: that of this machine; ``all``: all."""
    if texts is None or texts == []:
        return (Platform.here(),)
    found = _texts(texts, MAX_PLATFORMS)
    return None if ALL in found else tuple(Platform.parse(text) for text in found)


def _texts(texts: Any, most: int) -> list[str]:
    if not isinstance(texts, list) or len(texts) > most:
        raise InvalidRequest(f"expected a list of at most {most} names")
    if not all(isinstance(text, str) and 0 < len(text) <= MAX_NAME for text in texts):
        raise InvalidRequest("a name in the list is none")
    return texts


def _dry_run(known: Body) -> bool:
    dry_run = known.get("dry_run")
    if not isinstance(dry_run, bool | None):
        raise InvalidRequest("dry_run is true or false")
    return dry_run is True
