"""The one table that turns errors into answers: status, OCI code, headers (R60, R64).

Nothing else in the project knows which status an error has. A body never repeats what the client
sent, and says nothing of files, addresses or code of this machine.
"""

from __future__ import annotations

import enum
import json

import attrs

from regproxy import errors
from regproxy.proxy.freshness import timestamp
from regproxy.web.hints import hint_for

BACK_OFF_S = 30
"""Retry-After where an upstream gave none, seconds."""


class Subject(enum.Enum):
    """What a request is about: the code of its 404."""

    MANIFEST = "MANIFEST_UNKNOWN"
    BLOB = "BLOB_UNKNOWN"
    NAME = "NAME_UNKNOWN"


@attrs.frozen(slots=True)
class Problem:
    """An error answer: everything but the writing of it."""

    status: int
    code: str
    message: str
    detail: dict[str, object] = attrs.field(factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    refers_to_log: bool = False
    """The message sends its reader to the log: there must be a line."""

    @property
    def body(self) -> bytes:
        """The OCI error document."""
        entry = {"code": self.code, "message": self.message, "detail": self.detail}
        return json.dumps({"errors": [entry]}).encode("ascii")


@attrs.frozen(slots=True)
class Row:
    """How a class of errors is answered. ``code`` None: the subject's; ``message`` None: its own."""

    status: int
    code: str | None
    message: str | None = None
    retry: bool = False
    allow: bool = False
    logged: bool = False


TABLE: dict[type[errors.RegproxyError], Row] = {
    errors.RegproxyError: Row(500, "UNKNOWN", "the mirror failed; its log says why", logged=True),
    errors.InvalidRequest: Row(400, "UNSUPPORTED"),
    errors.InvalidName: Row(400, "NAME_INVALID"),
    errors.InvalidTarget: Row(400, "NAME_INVALID"),
    errors.InvalidTag: Row(400, "TAG_INVALID"),
    errors.InvalidDigest: Row(400, "DIGEST_INVALID"),
    errors.InvalidPage: Row(400, "PAGINATION_NUMBER_INVALID"),
    errors.RequestLineTooLong: Row(414, "UNSUPPORTED"),
    errors.HeadersTooLarge: Row(431, "UNSUPPORTED"),
    errors.TooManyConnections: Row(503, "UNAVAILABLE", retry=True),
    errors.UnknownRoute: Row(404, "UNSUPPORTED"),
    errors.UnknownUpstream: Row(404, "NAME_UNKNOWN"),
    errors.Unsupported: Row(404, "UNSUPPORTED"),
    errors.WriteRefused: Row(405, "UNSUPPORTED", allow=True),
    errors.AccessDenied: Row(403, "DENIED"),
    errors.IdentityNeeded: Row(401, "UNAUTHORIZED"),
    errors.Busy: Row(503, "UNAVAILABLE", retry=True),
    errors.NotBrought: Row(502, "UNAVAILABLE"),
    errors.ContentError: Row(404, None, "not known to this mirror"),
    errors.StorageFailed: Row(
        503,
        "UNAVAILABLE",
        "the mirror's own store fails; its operator finds why in its log",
        retry=True,
        logged=True,
    ),
    errors.TransferStopped: Row(503, "UNAVAILABLE", "the transfer was stopped", retry=True),
    errors.SecretUnusable: Row(500, "UNKNOWN", "the mirror failed; its log says why", logged=True),
    errors.NotFound: Row(404, None),
    errors.Denied: Row(403, "DENIED"),
    errors.Throttled: Row(429, "TOOMANYREQUESTS", retry=True),
    errors.UpstreamError: Row(502, "UNAVAILABLE"),
    errors.UpstreamTrouble: Row(503, "UNAVAILABLE", retry=True),
    errors.UpstreamUnreachable: Row(502, "UNAVAILABLE"),
    errors.UpstreamTimeout: Row(504, "UNAVAILABLE"),
    errors.UpstreamDown: Row(503, "UNAVAILABLE", retry=True),
    errors.UpstreamFailed: Row(502, "UNAVAILABLE"),
    errors.UpstreamRefused: Row(502, "UNAVAILABLE"),
    errors.ContentMismatch: Row(502, "DIGEST_INVALID"),
    errors.ManifestRefused: Row(502, "MANIFEST_INVALID"),
    errors.InvalidManifest: Row(502, "MANIFEST_INVALID"),
}
"""A class that is not named here is answered as the nearest class above it."""

UNEXPECTED = Problem(500, "UNKNOWN", "the mirror failed; its log says why")


def problem_for(error: errors.RegproxyError, subject: Subject = Subject.NAME) -> Problem:
    """The answer for ``error`` to a request about ``subject``."""
    row = next(TABLE[each] for each in type(error).__mro__ if each in TABLE)
    return Problem(
        row.status,
        row.code or subject.value,
        row.message or error.message,
        _detail(error),
        _headers(row, error),
        row.logged,
    )


def range_problem(size_bytes: int) -> Problem:
    """416: a range with nothing in it; says how large the content is (R32)."""
    return Problem(
        416,
        "SIZE_INVALID",
        "the range lies behind the end of the content",
        headers=(("Content-Range", f"bytes */{size_bytes}"),),
    )


def _detail(error: errors.RegproxyError) -> dict[str, object]:
    """Who failed, how, for how long it was tried, since when it fails, and what can be done (P14)."""
    if not isinstance(error, errors.UpstreamError):
        return {}
    known = {
        "upstream": error.upstream,
        "reason": error.reason,
        "status": error.status,
        "tried_s": None if error.tried_s is None else round(error.tried_s, 3),
        "since": None if error.since_s is None else timestamp(error.since_s),
        "hint": hint_for(error),
    }
    return {name: value for name, value in known.items() if value is not None}


def _headers(row: Row, error: errors.RegproxyError) -> tuple[tuple[str, str], ...]:
    if isinstance(error, errors.IdentityNeeded):
        return tuple(("WWW-Authenticate", challenge) for challenge in error.challenges)
    if row.allow:
        return (("Allow", "GET, HEAD"),)
    if row.retry:
        wish = error.retry_after_s if isinstance(error, errors.Throttled | errors.UpstreamDown) else None
        return (("Retry-After", str(BACK_OFF_S if wish is None else wish)),)
    return ()
