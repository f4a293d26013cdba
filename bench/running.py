"""The bench itself: the upstream filled, targets interleaved, everything ended and removed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from bench.cases import Case, Figures
from bench.contents import Shelf
from bench.scene import Held, Plan, Scene, fill_shelf
from bench.targets import DockerRegistry, Line, Regproxy, Target, Upstream


@attrs.frozen
class Source:
    """A source tree of regproxy and the name of its column."""

    name: str
    folder: Path


@attrs.frozen
class Measured:
    """One measurement of one case on one target."""

    case: str
    target: str
    figures: Figures


class Bench:
    """Measures ``cases`` on the upstream, docker-registry and each of ``sources``, all in ``folder``."""

    def __init__(
        self, folder: Path, plan: Plan, sources: Sequence[Source], say: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._say = say
        self._sources = sources
        self._upstream = Upstream(folder / "upstream")
        self._line = Line(folder / "line", self._upstream)
        self._targets: list[Target] = [self._upstream, *self._mirrors(self._upstream.url, "mirror")]
        self._far: list[Target] = [self._line, *self._mirrors(self._line.url, "far")]

    def _mirrors(self, url: str, folder: str) -> list[Target]:
        """docker-registry and each source tree, in front of the upstream at ``url``."""
        below = self._folder / folder
        trees = [
            Regproxy(below / f"tree-{n}", url, source.folder, source.name)
            for n, source in enumerate(self._sources)
        ]
        return [DockerRegistry(below / "docker-registry", url), *trees]

    @property
    def names(self) -> list[str]:
        """The targets, in the order of their columns."""
        return [target.name for target in self._targets]

    def run(self, cases: Sequence[Case], runs: int) -> Iterator[Measured]:
        """Each case ``runs`` times on each target; targets take turns, and in another order each time."""
        try:
            yield from self._run(cases, runs)
        finally:
            for target in (*self._far, *self._targets):
                target.remove()

    def _run(self, cases: Sequence[Case], runs: int) -> Iterator[Measured]:
        self._say("filling the upstream")
        held = fill_shelf(Shelf(self._upstream.data), self._plan)
        self._upstream.start()
        for case in cases:
            if case.cold and not case.far:
                yield from self._rounds(case, runs, held, self._cold)
        if any(case.far for case in cases):
            self._line.start()
        for case in cases:
            if case.far:
                yield from self._rounds(case, runs, held, self._cold)
        self._line.stop()
        warm = [case for case in cases if not case.cold]
        if warm:
            self._start_warm(held)
        for case in warm:
            yield from self._rounds(case, runs, held, _as_it_is)

    def _rounds(
        self,
        case: Case,
        runs: int,
        held: Held,
        on: Callable[[Target], contextlib.AbstractContextManager[None]],
    ) -> Iterator[Measured]:
        for number in range(runs):
            self._say(f"{case.name}, run {number + 1} of {runs}")
            targets = self._measured(case)
            turn = number % len(targets)
            for target in targets[turn:] + targets[:turn]:
                with on(target):
                    yield Measured(case.name, target.name, case.measure(self._scene(target, held)))

    def _measured(self, case: Case) -> list[Target]:
        targets = self._far if case.far else self._targets
        return [target for target in targets if isinstance(target, Regproxy) or not case.ours]

    def _scene(self, target: Target, held: Held) -> Scene:
        return Scene(target, self._upstream, held, self._plan, self._folder)

    @contextlib.contextmanager
    def _cold(self, target: Target) -> Iterator[None]:
        if target in (self._upstream, self._line):
            yield
            return
        target.start()
        try:
            yield
        finally:
            target.remove()

    def _start_warm(self, held: Held) -> None:
        self._say("pulling everything once through each target")
        for target in self._targets:
            if target is not self._upstream:
                target.start()
            self._scene(target, held).warm()


@contextlib.contextmanager
def _as_it_is(_target: Target) -> Iterator[None]:
    yield
