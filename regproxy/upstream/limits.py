"""How long an upstream may take."""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True)
class Limits:
    """Seconds for one upstream (R90): tests shorten them."""

    connect_s: float = 5.0
    first_byte_s: float = 12.0
    """From the question to the headers of the last answer: token, redirects and retries included."""
    endpoint_s: float = 5.0
    """Of these, what one endpoint of several may take before the next one is asked."""
    doubt_s: float = 2.0
    """A call that is unanswered for so long makes us look whether anybody is there."""
    probe_s: float = 5.0
    """For the answer to that look, and to each probe of one that was not."""
    list_s: float = 30.0
    """For all pages of a list of tags."""
    idle_s: float = 30.0
    """Between two pieces of a body that we want to read."""


LIMITS = Limits()
"""What holds unless a test says otherwise."""
