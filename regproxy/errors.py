"""Every failure that crosses a room's wall, as one tree.

An error holds what happened as plain fields and a message that tells a person what to do. It
knows no HTTP: ``web.errors`` alone turns these into OCI error answers (R60).
"""

from __future__ import annotations


class RegproxyError(Exception):
    """The root. ``str(error)`` is one line for a person and holds no secret and no raw input."""

    @property
    def message(self) -> str:
        """The line for a person."""
        return str(self)


class InvalidRequest(RegproxyError):
    """What a client sent breaks the grammar."""


class InvalidName(InvalidRequest):
    """Not a repository name (R4)."""


class InvalidTag(InvalidRequest):
    """Not a tag (R5)."""


class InvalidDigest(InvalidRequest):
    """Not a digest, or of an algorithm we do not store (R6)."""


class InvalidPage(InvalidRequest):
    """``n`` of a listing is not a number (R94)."""


class InvalidTarget(InvalidRequest):
    """The request target itself is malformed: encodings, NUL, traversal (R7), Host."""


class RequestLineTooLong(InvalidRequest):
    """More than ``limits.request_line``."""


class HeadersTooLarge(InvalidRequest):
    """More than ``limits.header_size``, or too many of them."""


class TooManyConnections(RegproxyError):
    """No room for another connection, in all or of one address."""


class UnknownRoute(RegproxyError):
    """No such path in the API (R8)."""


class UnknownUpstream(RegproxyError):
    """The request names an upstream that the settings do not: a closed world (R97)."""


class Unsupported(RegproxyError):
    """Part of the API that this mirror does not serve (yet), such as referrers."""


class WriteRefused(RegproxyError):
    """A write verb (R98)."""


class AccessDenied(RegproxyError):
    """Our own rules keep this client or this repository out."""


class TokenRefused(AccessDenied):
    """An operation was asked for without the operators' token, or with another one."""


class PostOnly(WriteRefused):
    """An operation is asked for by POST alone."""


class SecretUnusable(RegproxyError):
    """A file that should hold a secret holds none that may be used; never a part of it in the message."""


class IdentityNeeded(RegproxyError):
    """Who asks is not known, or not well enough.

    ``challenges`` say how to tell: values of WWW-Authenticate (RFC 9110 11.6.1).
    """

    def __init__(self, message: str, challenges: tuple[str, ...]) -> None:
        super().__init__(message)
        self.challenges = challenges


class Busy(RegproxyError):
    """More work of one kind waits for its thread than gets done in the time that clients wait."""


class NotBrought(RegproxyError):
    """An image that an operator wants here could not be brought, or not all of it."""


class ContentError(RegproxyError):
    """The store has not got it, or not any more."""


class ContentMissing(ContentError):
    """Not on disk, or not whole: a miss (P3)."""


class ContentUntrusted(ContentError):
    """On disk, but touched since it was verified: to be hashed again before it is served (P31)."""


class StorageFailed(RegproxyError):
    """The disk refused: full, read-only, broken; the message names the system's error."""

    told: bool = False
    """Whether the log has said so already, once for all that is refused meanwhile."""


class TooLargeToKeep(StorageFailed):
    """A blob that the settings leave no room for; it passes through, and whoever decides that says so."""

    told = True


class StorageLocked(StorageFailed):
    """Another process has the folder."""


class StorageForeign(StorageFailed):
    """The folder is not ours, or of a version we do not read."""


class TransferStopped(RegproxyError):
    """A body that was being read is closed: by its reader, or because the daemon ends."""


class UpstreamError(RegproxyError):
    """An upstream did not give what it was asked for.

    ``upstream`` is its name in the settings; ``reason`` one clause, without secrets, that says
    what it did. What else is known is set where it is known: ``status`` is the HTTP status that it
    gave, ``tried_s`` for how many seconds it was asked, ``since_s`` since when it has given no answer,
    seconds since the epoch, ``inner`` what only the log may say: files of this machine. ``remembered``: it
    was not asked, since an earlier answer said so.
    """

    status: int | None = None
    tried_s: float | None = None
    since_s: float | None = None
    inner: str | None = None
    remembered: bool = False

    def __init__(self, upstream: str, reason: str) -> None:
        super().__init__(f"{upstream}: {reason}")
        self.upstream = upstream
        self.reason = reason

    @property
    def for_log(self) -> str:
        """The line for the log."""
        return str(self) if self.inner is None else f"{self} ({self.inner})"


class RangeIgnored(UpstreamError):
    """Asked for some bytes of a blob it sent others, or all: it serves no ranges that are of use (R85)."""


class UpstreamAnswered(UpstreamError):
    """The upstream's own answer about one repository's content: it counts for that one only."""


class NotFound(UpstreamAnswered):
    """404 or 410: the upstream says that it is not there."""


class Denied(UpstreamAnswered):
    """401 or 403 to the best credentials we have (R79)."""


class Throttled(UpstreamAnswered):
    """429. ``retry_after_s`` is the upstream's wish in seconds, capped, or None.

    Where that is ``remembered`` the wish is what is left of it.
    """

    def __init__(
        self, upstream: str, reason: str, retry_after_s: int | None = None, remembered: bool = False
    ) -> None:
        super().__init__(upstream, reason)
        self.retry_after_s = retry_after_s
        self.remembered = remembered


class UpstreamTrouble(UpstreamError):
    """The upstream failed: what is cached may be served stale (R52)."""


class UpstreamUnreachable(UpstreamTrouble):
    """No connection, reset, TLS or DNS failure.

    ``passing``: it may be a matter of one connection, so that another one brings the answer.
    """

    passing = False


class UpstreamTimeout(UpstreamTrouble):
    """It took longer than a client waits."""


class UpstreamSlow(UpstreamTimeout):
    """It sends so little that the rest is asked for elsewhere; no failure as long as that works."""


class UpstreamDown(UpstreamTrouble):
    """It is not asked now: it failed again and again, or an operator said so.

    ``since_s`` is since when, seconds since the epoch; ``retry_after_s`` in how many seconds it is
    tried again, None where nothing is planned.
    """

    def __init__(
        self, upstream: str, reason: str, since_s: float | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(upstream, reason)
        self.since_s = since_s
        self.retry_after_s = retry_after_s


class UpstreamFailed(UpstreamTrouble):
    """5xx, or an answer that breaks the protocol: HTML, an encoded body, a redirect loop."""


class UpstreamRefused(UpstreamTrouble):
    """Its token server refuses our credentials, or its realm is not one we send them to (R80)."""

    def __init__(self, upstream: str, reason: str, inner: str | None = None) -> None:
        super().__init__(upstream, reason)
        self.inner = inner


class ContentMismatch(UpstreamTrouble):
    """It sent bytes that the digest or the announced size does not name (R13, R38, R39)."""


class ManifestRefused(UpstreamTrouble):
    """It sent as a manifest what is none, contradicts itself (R19) or is larger than one may be (R18)."""


class InvalidManifest(RegproxyError):
    """Bytes that are no manifest, or contradict themselves."""
