"""What the settings say that this version reads and does not follow yet: told, never silent."""

from __future__ import annotations

from collections.abc import Iterator

from regproxy.settings import Settings


def without_effect(settings: Settings) -> Iterator[str]:
    """A line for each such setting."""
    if settings.storage.max_size_bytes is not None:
        yield (
            "storage.max_size keeps out what is larger than half of it, no more: nothing is removed for want "
            "of space yet"
        )
    if settings.storage.min_free_bytes is not None:
        yield "storage.min_free is read and not enforced: nothing is removed for want of space yet"
