"""The report: a Markdown table with ratios, the aims, and JSON with every single measurement."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence

import attrs

from bench.cases import CASES, titled
from bench.figures import AIMS, FIGURES, OURS, Medians, medians
from bench.running import Measured
from bench.scene import Plan


@attrs.frozen
class Report:
    """What was measured, of which targets, how."""

    targets: Sequence[str]
    measured: Sequence[Measured]
    plan: Plan
    runs: int
    versions: Mapping[str, str]
    others_busy: float
    """The share of the cores that other work took just before; figures of a busy machine say little."""

    def markdown(self) -> str:
        """For people."""
        figures = medians(self.measured)
        lines = [self._head(), "", *self._table(figures), "", *_aims(figures)]
        return "\n".join(lines).rstrip() + "\n"

    def json(self) -> str:
        """For programs: medians, and each run."""
        document = {
            "machine": machine(),
            "others_busy": self.others_busy,
            "versions": dict(self.versions),
            "runs": self.runs,
            "plan": attrs.asdict(self.plan),
            "medians": medians(self.measured),
            "measured": [attrs.asdict(one) for one in self.measured],
        }
        return json.dumps(document, indent=1) + "\n"

    def _head(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        shape = machine()
        where = f"{shape['cores']} cores shared with client and upstream, Linux {shape['kernel']}"
        how = f"Medians of {self.runs} interleaved runs; {versions}; Python {shape['python']}; {where}"
        return f"{how}; {self.others_busy:.0%} of them busy with other work before the start."

    def _table(self, figures: Medians) -> Iterator[str]:
        others = [name for name in self.targets if name != OURS]
        heads = ["case", "figure", *self.targets, *(f"{OURS} / {other}" for other in others)]
        yield _row(heads)
        yield _row(["---", "---", *["---:"] * (len(heads) - 2)])
        for case, targets in figures.items():
            title = self.title(case)
            for name, figure in FIGURES.items():
                values = {target: found[name] for target, found in targets.items() if name in found}
                if values:
                    cells = [_number(values.get(target), figure.places) for target in self.targets]
                    yield _row([title, figure.label, *cells, *(_ratio(values, other) for other in others)])
                    title = ""

    def title(self, case: str) -> str:
        """What people call the case, with its sizes."""
        plan = self.plan
        template = next(one.title for one in CASES if one.name == case)
        return template.format(
            size=titled(plan.size_bytes),
            shared=titled(plan.shared_bytes),
            layer=titled(plan.layer_bytes),
            far=titled(plan.far_bytes),
            far_large=titled(4 * plan.far_bytes),
            clients=plan.clients,
            readers=plan.readers,
            nodes=plan.nodes,
            layers=plan.layers,
        )


def machine() -> Mapping[str, str | int]:
    """Where it ran."""
    cores = len(os.sched_getaffinity(0))
    return {"cores": cores, "kernel": platform.release(), "python": platform.python_version()}


def _aims(figures: Medians) -> Iterator[str]:
    found = [(aim, value) for aim in AIMS if (value := aim.value(figures)) is not None]
    if not found:
        return
    yield _row(["aim", "what", "bound", "got", "reached"])
    yield _row(["---", "---", "---:", "---:", "---"])
    for aim, value in found:
        bound = f"{'>=' if aim.at_least else '<='} {aim.bound:g}"
        yield _row([aim.case, aim.what, bound, f"{value:.2f}", "yes" if aim.reached(value) else "**no**"])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"


def _ratio(values: Mapping[str, float], other: str) -> str:
    ours, theirs = values.get(OURS), values.get(other)
    return "" if ours is None or not theirs else f"{ours / theirs:.2f}"
