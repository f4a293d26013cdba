"""``X-Regproxy-Trace``: for an operator, what was decided for the very answer that has it.

Laws: it is made only for a request that asks for it, from an address in ``access.trace``, once that
request is let in; nothing is asked of anybody for it. Where the setting names no network, no request
is even looked at for it. It holds words of ours, of the settings and of the record, never of a header.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from regproxy.access.networks import is_within, normalise
from regproxy.headers.warnings import printable
from regproxy.interfaces import How
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference
from regproxy.settings import Network

HEADER = "X-Regproxy-Trace"
ASKS = "1"
MAX_TRACE_LENGTH = 1024

Brief = Callable[[Repository, Reference | None], Sequence[tuple[str, str]]]
"""What is known of a tag, a digest or (None) a list of tags now, as words and their values."""


class TracedRequest(Protocol):
    """What is looked at of a request."""

    @property
    def client_host(self) -> str | None:
        """Its client's address; None on a unix socket, whose mode decided."""

    def header(self, name: str) -> str | None:
        """One of its headers."""


@attrs.frozen(slots=True)
class Tracing:
    """Who may ask, and what is told."""

    networks: tuple[Network, ...]
    brief: Brief

    def asked_by(self, request: TracedRequest) -> bool:
        """Whether the answer to ``request`` is to have a trace."""
        if request.header(HEADER) != ASKS:
            return False
        host = request.client_host
        return host is None or is_within(normalise(host), self.networks)


def trace_value(how: How | None, cause: str | None, brief: Sequence[tuple[str, str]]) -> str:
    """One line: ``how=stale; cause=...; rule="*" (line 7)``, printable ASCII, at most MAX_TRACE_LENGTH signs.

    ``how`` and ``cause`` are of this answer, as its access line has them.
    """
    words = [("how", "none" if how is None else how.value)]
    words += [] if cause is None else [("cause", cause)]
    words += brief
    return printable("; ".join(f"{name}={value}" for name, value in words))[:MAX_TRACE_LENGTH]
