"""How far a job is that brings images here: counts, and the layers of the image that it is at."""

from __future__ import annotations

import enum
from typing import Protocol

import attrs

from regproxy.oci.digest import Digest

MAX_NOTES = 100


class Moving(Protocol):
    """A transfer, while it runs."""

    @property
    def arrived(self) -> int:
        """Bytes that have come."""


class Stage(enum.Enum):
    """Where a layer is."""

    WAITING = "waiting"
    FETCHING = "fetching"
    HERE = "here"
    FAILED = "failed"


@attrs.define(slots=True, eq=False)
class Layer:
    """One blob of the present image; ``fetched``: it was not here before."""

    digest: Digest
    size_bytes: int
    stage: Stage = Stage.WAITING
    moving: Moving | None = None
    fetched: bool = False

    @property
    def front_bytes(self) -> int:
        """How much of it is here."""
        if self.stage is Stage.HERE:
            return self.size_bytes
        return 0 if self.moving is None else min(self.moving.arrived, self.size_bytes)


@attrs.define(eq=False)
class Progress:
    """Of one job over ``images``. ``moved``: tags that came to mean something else."""

    images: int
    done: int = 0
    failed: int = 0
    moved: int = 0
    present: str | None = None
    waits: str | None = None
    """Why it waits, where it does."""
    layers: list[Layer] = attrs.field(factory=list)
    ended_bytes: int = 0
    """Fetched for images before the present one."""
    failures: list[tuple[str, str]] = attrs.field(factory=list)
    """The first MAX_NOTES: image and why."""

    def begin(self, image: str) -> None:
        """The next image."""
        self.ended_bytes = self.fetched_bytes
        self.present, self.layers, self.waits = image, [], None

    def end(self, why: str | None) -> None:
        """The present image is here, or not and ``why``."""
        if why is None:
            self.done += 1
            return
        self.failed += 1
        if len(self.failures) < MAX_NOTES:
            self.failures.append((self.present or "", why))

    @property
    def fetched_bytes(self) -> int:
        """What has come over the line for it so far."""
        return self.ended_bytes + sum(layer.front_bytes for layer in self.layers if layer.fetched)
