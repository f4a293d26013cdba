"""What is answered to a read, decided before a byte is written; pure.

GET and HEAD of one thing give the same headers, on a hit and on a miss (R11, R30). The one
difference is RFC 9110's own: a range is asked for by GET alone, so HEAD ignores it.
"""

from __future__ import annotations

import attrs

from regproxy.headers.conditionals import entity_tag, none_match_hits, range_holds
from regproxy.headers.ranges import Span, Unsatisfiable, choose_range
from regproxy.headers.warnings import warning_values
from regproxy.http1.heads import head_block
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.media_type import BLOB_TYPE, essence
from regproxy.web.errors import Problem, range_problem

API_VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")
"""On every answer of a registry (R2)."""

PRIVATE = ("Cache-Control", "private")
"""On what only some may have, and what may change: a cache in front need not look at who asks."""

_FOR_EVER = "max-age=31536000, immutable"


@attrs.frozen(slots=True)
class Asked:
    """The headers of a request that decide what it gets."""

    none_match: str | None = None
    range: str | None = None
    if_range: str | None = None
    head: bool = False


@attrs.frozen(slots=True)
class Remarks:
    """What is said besides the content: whose it is, how old it is, who chose the upstream.

    ``warning`` is a sentence of our own, ``passed_on`` are the upstream's (R93).
    """

    private: bool = False
    namespace: str | None = None
    warning: str | None = None
    age_s: float = 0.0
    passed_on: tuple[str, ...] = ()


@attrs.frozen(slots=True)
class Answer:
    """Status and headers, and which bytes follow them.

    ``whole``: all of the content; ``span``: these bytes of it (None too where the size of the
    whole is not known, or small content is at hand). ``content`` is an error document.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    span: Span | None = None
    whole: bool = False
    content: bytes = b""


def manifest_answer(found: Descriptor, asked: Asked, remarks: Remarks, *, by_tag: bool) -> Answer:
    """200 or 304 for a manifest (R10, R12). Ranges are not served: a manifest is small."""
    headers = _identity(found.digest, remarks)
    if not by_tag:
        headers.append(_cache_control(remarks))
    elif remarks.private:
        headers.append(PRIVATE)
    if none_match_hits(asked.none_match, found.digest):
        return Answer(304, tuple(headers))
    headers.append(("Content-Type", essence(found.media_type)))
    headers.append(("Content-Length", str(found.size_bytes)))
    return Answer(200, tuple(headers), whole=True)


def blob_answer(digest: Digest, size_bytes: int | None, asked: Asked, remarks: Remarks) -> Answer:
    """200, 206, 304 or 416 for a blob (R30, R32, R33).

    ``size_bytes`` None: the upstream does not tell, so all of it is sent, without a length (R42).
    """
    headers = [*_identity(digest, remarks), _cache_control(remarks)]
    if none_match_hits(asked.none_match, digest):
        return Answer(304, tuple(headers))
    headers.append(("Accept-Ranges", "bytes"))
    honoured = not asked.head and range_holds(asked.if_range, digest)
    wanted = choose_range(asked.range if honoured else None, size_bytes)
    if isinstance(wanted, Unsatisfiable):
        return _unsatisfiable(size_bytes or 0, headers)
    headers.append(("Content-Type", BLOB_TYPE))
    if size_bytes is None:
        return Answer(200, tuple(headers), whole=True)
    if isinstance(wanted, Span):
        headers.append(("Content-Range", wanted.content_range(size_bytes)))
        headers.append(("Content-Length", str(wanted.length)))
        return Answer(206, tuple(headers), span=wanted)
    headers.append(("Content-Length", str(size_bytes)))
    return Answer(200, tuple(headers), span=Span(0, size_bytes), whole=True)


def answer_block(answer: Answer) -> bytes:
    """The head of ``answer`` as it leaves (R2)."""
    return head_block(answer.status, (API_VERSION, *answer.headers))


def error_answer(problem: Problem, namespace: str | None = None) -> Answer:
    """An error as OCI JSON (R60); ``namespace``: the ``ns`` that it is about (R97)."""
    body = problem.body
    framing = (("Content-Type", "application/json"), ("Content-Length", str(len(body))))
    scope = plain_headers(Remarks(namespace=namespace))
    return Answer(problem.status, (*problem.headers, *scope, *framing), content=body)


def plain_headers(remarks: Remarks) -> list[tuple[str, str]]:
    """The headers of remarks alone, for answers that have no digest."""
    headers = []
    if remarks.namespace is not None:
        headers.append(("OCI-Namespace", remarks.namespace))
    if remarks.warning is None and not remarks.passed_on:
        return headers
    ours = () if remarks.warning is None else (remarks.warning,)
    headers += [("Warning", value) for value in warning_values((*ours, *remarks.passed_on))]
    if remarks.warning is not None:
        headers.append(("Age", str(max(0, int(remarks.age_s)))))
    return headers


def _identity(digest: Digest, remarks: Remarks) -> list[tuple[str, str]]:
    return [
        ("Docker-Content-Digest", str(digest)),
        ("ETag", entity_tag(digest)),
        *plain_headers(remarks),
    ]


def _cache_control(remarks: Remarks) -> tuple[str, str]:
    return ("Cache-Control", f"private, {_FOR_EVER}" if remarks.private else _FOR_EVER)


def _unsatisfiable(size_bytes: int, headers: list[tuple[str, str]]) -> Answer:
    answer = error_answer(range_problem(size_bytes))
    kept = [pair for pair in headers if pair[0] in ("OCI-Namespace", "Accept-Ranges")]
    return attrs.evolve(answer, headers=(*kept, *answer.headers))
