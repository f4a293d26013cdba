"""What the settings say that this version reads and does not follow yet: told, never silent."""

from __future__ import annotations

from collections.abc import Iterator

from regproxy.settings import Settings


def without_effect(settings: Settings) -> Iterator[str]:
    """A line for each such setting."""
    for upstream in settings.upstreams:
        if len(upstream.endpoints) > 1:
            yield f"upstreams.{upstream.name}.endpoints: this version asks only the first one"
