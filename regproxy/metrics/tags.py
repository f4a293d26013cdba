"""What became of tags: by the rule that each is under, and of the questions whether they changed."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry

from regproxy.metrics.families import Counts

OUTCOMES = ("unchanged", "changed", "gone", "refused", "trouble")
"""Of a revalidation: the same digest, another one, 404, 401 or 403, no answer of use."""


class TagFigures:
    """``names`` are the upstreams."""

    def __init__(self, registry: CollectorRegistry, names: Iterable[str]) -> None:
        names = tuple(names)
        self._revalidations = Counts(
            "regproxy_revalidations",
            "Questions whether an expired tag has changed, by what came of them.",
            ("upstream", "outcome"),
            [(name, outcome) for name in names for outcome in OUTCOMES],
        )
        self._answers = Counts(
            "regproxy_tag_answers",
            "Answers to requests by tag, by the rule of the settings that the tag is under.",
            ("upstream", "rule", "how"),
        )
        self._moved = Counts(
            "regproxy_tag_moved",
            "Tags that look like full versions and came to mean another digest.",
            ("upstream",),
            [(name,) for name in names],
        )
        registry.register(self._moved)
        registry.register(self._revalidations)
        registry.register(self._answers)

    @classmethod
    def apart(cls) -> TagFigures:
        """Figures that nobody looks at."""
        return cls(CollectorRegistry(), ())

    def revalidated(self, upstream: str, outcome: str) -> None:
        """An expired tag was asked about: one of OUTCOMES."""
        self._revalidations.add((upstream, outcome))

    def moved(self, upstream: str) -> None:
        """A tag that looks like a full version means something else now."""
        self._moved.add((upstream,))

    def answered(self, upstream: str, rule: str, how: str) -> None:
        """A client was told what a tag means. ``rule`` is the ``match`` of a rule in the settings."""
        self._answers.add((upstream, rule, how))
