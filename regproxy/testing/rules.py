"""Rules: which requests are answered otherwise, how often, and who may read at all."""

from __future__ import annotations

from typing import Protocol

import attrs

from regproxy.testing.actions import Action
from regproxy.testing.record import Target
from regproxy.testing.reply import HeardRequest, Reply


@attrs.frozen(slots=True)
class Match:
    """Which requests a rule is for; None is any. ``nth`` and ``times`` count those that match the rest."""

    method: str | None = None
    kind: str | None = None
    repository: str | None = None
    reference: str | None = None
    nth: int | None = None
    """Only the nth of them, from 1 on."""
    times: int | None = None
    """Only the first so many."""
    ranged: bool | None = None
    """Only those with a Range header, or only those without."""

    def covers(self, request: HeardRequest, target: Target) -> bool:
        """Whether the request is one of these, counting aside."""
        pairs = (
            (self.method, request.method),
            (self.kind, target.kind),
            (self.repository, target.repository),
            (self.reference, target.reference),
            (self.ranged, request.header("Range") is not None),
        )
        return all(wanted is None or wanted == found for wanted, found in pairs)

    def counts(self, number: int) -> bool:
        """Whether the ``number``th that is covered is acted on."""
        return self.nth in (None, number) and (self.times is None or number <= self.times)


@attrs.define(eq=False)
class Rule:
    """A match and what to do; ``seen`` requests were covered, ``hits`` acted on."""

    match: Match
    actions: tuple[Action, ...] = attrs.field(repr=False)
    seen: int = 0
    hits: int = 0

    def takes(self, request: HeardRequest, target: Target) -> bool:
        """Count the request; whether this rule acts on it."""
        if not self.match.covers(request, target):
            return False
        self.seen += 1
        if not self.match.counts(self.seen):
            return False
        self.hits += 1
        return True


class Guard(Protocol):
    """Who may read: None, or the reply that refuses."""

    def refuse(self, request: HeardRequest, target: Target) -> Reply | None:
        """The refusal of a request; None: it may pass."""
