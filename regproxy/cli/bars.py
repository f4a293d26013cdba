"""How far a job is: a bar for each layer of the present image, and one for all. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from regproxy.cli.amounts import count_text, size_text
from regproxy.cli.lines import Line, Part, Tone, cut, harmless, line

CELLS = 30
_TONES = {"here": Tone.GREEN, "fetching": Tone.YELLOW, "failed": Tone.RED}


def bar(part: float, whole: float, cells: int) -> str:
    """``[####......]``: full only where all is there."""
    share = 1.0 if whole <= 0 else min(max(part / whole, 0.0), 1.0)
    filled = int(share * cells)
    return f"[{'#' * filled}{'.' * (cells - filled)}]"


def picture(found: Mapping[str, Any], width: int) -> Iterator[Line]:
    """All lines of a job that runs. KeyError, TypeError, ValueError."""
    cells = max(5, min(CELLS, width - 50))
    present = found["present"]
    if present is not None:
        yield cut(line(Part(harmless(str(present)), Tone.BOLD)), width)
    for layer in found["layers"]:
        here, size = int(layer["front_bytes"]), int(layer["size_bytes"])
        state = str(layer["state"])
        name = harmless(str(layer["digest"])).partition(":")[2][:12]
        drawn = Part(bar(here, size, cells), _TONES.get(state, Tone.FAINT))
        yield cut(line(f"  {name}  ", drawn, f"  {size_text(here)} of {size_text(size)}  {state}"), width)
    if found["waits"] is not None:
        yield cut(line(Part(f"  {harmless(str(found['waits']))}", Tone.FAINT)), width)
    here, size = int(found["present_bytes"]), int(found["present_size_bytes"])
    ended, images = int(found["done"]) + int(found["failed"]), int(found["images"])
    share = ended + (here / size if size else 0.0)
    yield cut(line("total         ", bar(share, images, cells), f"  {summary(found)}"), width)


def summary(found: Mapping[str, Any]) -> str:
    """One line of it. KeyError, TypeError, ValueError."""
    parts = [f"{count_text(int(found['done']))} of {count_text(int(found['images']))} images"]
    parts += [f"{count_text(int(found['failed']))} failed"] if found["failed"] else []
    parts += [f"{count_text(int(found['moved']))} tags moved"] if found["moved"] else []
    parts.append(f"{size_text(int(found['fetched_bytes']))} fetched")
    parts += [harmless(str(found["state"]))] if found["state"] != "running" else []
    return ", ".join(parts)
