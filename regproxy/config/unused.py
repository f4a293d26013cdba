"""What the settings say that this version reads and does not follow yet: told, never silent."""

from __future__ import annotations

from collections.abc import Iterator

from regproxy.settings import Settings


def without_effect(settings: Settings) -> Iterator[str]:
    """A line for each such setting."""
    for key, value in (
        ("max_size", settings.storage.max_size_bytes),
        ("min_free", settings.storage.min_free_bytes),
    ):
        if value is not None:
            yield f"storage.{key} is read and not enforced: nothing is removed for want of space yet"
    for upstream in settings.upstreams:
        if len(upstream.endpoints) > 1:
            yield f"upstreams.{upstream.name}.endpoints: this version asks only the first one"
