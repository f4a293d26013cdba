"""What reached a server: one frozen record a request, for tests to assert on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from regproxy.testing.reply import HeardRequest
from regproxy.testing.wire import Progress

KINDS = ("base", "manifest", "blob", "tags", "cdn", "token", "other")

_NAMED = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")
_TAGS = re.compile(r"/v2/(?P<repository>.+)/tags/list")
_CDN = re.compile(r"/cdn/(?P<repository>.+)/(?P<reference>[^/]+)")


@attrs.frozen(slots=True)
class Target:
    """What a path means: ``kind`` is one of KINDS."""

    kind: str
    repository: str | None = None
    reference: str | None = None


def classify(path: str) -> Target:
    """What an (undecoded) path asks for."""
    if path in ("/v2", "/v2/"):
        return Target("base")
    if match := _TAGS.fullmatch(path):
        return Target("tags", match["repository"])
    if match := _NAMED.fullmatch(path):
        return Target(match["kind"][:-1], match["repository"], match["reference"])
    if match := _CDN.fullmatch(path):
        return Target("cdn", match["repository"], match["reference"])
    return Target("other")


@attrs.frozen(slots=True)
class RequestRecord:
    """One request and what became of it.

    ``status`` is None until the status line is sent (0: the connection was cut instead);
    ``sent_bytes`` counts body bytes given to the socket; ``finished`` that the answer was whole.
    """

    host: str
    """Which of the servers heard it: ``registry``, ``cdn`` or ``token``."""
    port: int
    request: HeardRequest = attrs.field(repr=False)
    method: str
    target: str
    kind: str
    repository: str | None = None
    reference: str | None = None
    status: int | None = None
    sent_bytes: int = 0
    finished: bool = False

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.request.path

    @property
    def authorization(self) -> str | None:
        """The Authorization header, whole; None when none came."""
        return self.request.header("Authorization")

    def header(self, name: str) -> str | None:
        """The first request header of this name."""
        return self.request.header(name)


class RequestLog:
    """Records in the order of arrival, kept up to date while answers go out."""

    def __init__(self) -> None:
        self._records: list[RequestRecord] = []

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def begin(self, host: str, port: int, request: HeardRequest, target: Target) -> Progress:
        """Note a request; the answer tells its progress to what is returned."""
        records = self._records
        index = len(records)
        records.append(
            RequestRecord(
                host,
                port,
                request,
                request.method,
                request.target,
                target.kind,
                target.repository,
                target.reference,
            )
        )

        def progress(status: int, sent_bytes: int, finished: bool) -> None:
            records[index] = attrs.evolve(
                records[index], status=status, sent_bytes=sent_bytes, finished=finished
            )

        return progress

    def clear(self) -> None:
        """Forget all; answers under way go on into the forgotten list."""
        self._records = []

    def select(
        self,
        method: str | None = None,
        kind: str | None = None,
        repository: str | None = None,
        reference: str | None = None,
        status: int | None = None,
        host: str | None = None,
    ) -> list[RequestRecord]:
        """The records that have all of these."""
        wanted = {
            "method": method,
            "kind": kind,
            "repository": repository,
            "reference": reference,
            "status": status,
            "host": host,
        }
        asked = {name: value for name, value in wanted.items() if value is not None}
        return [r for r in self._records if all(getattr(r, name) == value for name, value in asked.items())]
