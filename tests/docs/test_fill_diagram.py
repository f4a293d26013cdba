"""The diagram of a fill stands in two places, and says the same."""

from __future__ import annotations

import textwrap
from pathlib import Path

from regproxy.fill import fill
from regproxy.fill.view import State

ARCHITECTURE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"


def test_the_diagram_is_that_of_the_module() -> None:
    (diagram,) = (block for block in ARCHITECTURE.read_text().split("```") if "OPENING --" in block)
    assert fill.__doc__ is not None
    assert diagram.strip("\n") in textwrap.dedent(fill.__doc__.replace("\n    ", "\n"))
    assert {state.name for state in State} == {word for word in diagram.split() if word in State.__members__}
