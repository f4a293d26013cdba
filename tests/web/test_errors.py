"""The table of errors: every row of R60, every class covered, no raw input repeated."""

from __future__ import annotations

import inspect
import json

import pytest

from regproxy import errors
from regproxy.web.errors import BACK_OFF_S, TABLE, Subject, problem_for, range_problem

UP = ("docker.io", "it answered 418")

CASES = [
    (errors.NotFound(*UP), Subject.MANIFEST, 404, "MANIFEST_UNKNOWN"),
    (errors.NotFound(*UP), Subject.BLOB, 404, "BLOB_UNKNOWN"),
    (errors.NotFound(*UP), Subject.NAME, 404, "NAME_UNKNOWN"),
    (errors.Denied(*UP), Subject.MANIFEST, 403, "DENIED"),
    (errors.Throttled(*UP, 7), Subject.MANIFEST, 429, "TOOMANYREQUESTS"),
    (errors.UpstreamUnreachable(*UP), Subject.BLOB, 502, "UNAVAILABLE"),
    (errors.UpstreamFailed(*UP), Subject.BLOB, 502, "UNAVAILABLE"),
    (errors.UpstreamRefused(*UP), Subject.BLOB, 502, "UNAVAILABLE"),
    (errors.UpstreamTrouble(*UP), Subject.BLOB, 503, "UNAVAILABLE"),
    (errors.UpstreamTimeout(*UP), Subject.BLOB, 504, "UNAVAILABLE"),
    (errors.ContentMismatch(*UP), Subject.BLOB, 502, "DIGEST_INVALID"),
    (errors.ManifestRefused(*UP), Subject.MANIFEST, 502, "MANIFEST_INVALID"),
    (errors.InvalidManifest("no manifest"), Subject.MANIFEST, 502, "MANIFEST_INVALID"),
    (errors.StorageFailed("/secret/path: ENOSPC"), Subject.BLOB, 503, "UNAVAILABLE"),
    (errors.ContentMissing("/secret/path"), Subject.BLOB, 404, "BLOB_UNKNOWN"),
    (errors.ContentUntrusted("/secret/path"), Subject.BLOB, 404, "BLOB_UNKNOWN"),
    (errors.TransferStopped("closed"), Subject.BLOB, 503, "UNAVAILABLE"),
    (errors.AccessDenied("no"), Subject.BLOB, 403, "DENIED"),
    (errors.IdentityNeeded("log in", ()), Subject.BLOB, 401, "UNAUTHORIZED"),
    (errors.Busy("later"), Subject.BLOB, 503, "UNAVAILABLE"),
    (errors.UnknownRoute("no"), Subject.NAME, 404, "UNSUPPORTED"),
    (errors.UnknownUpstream("no"), Subject.MANIFEST, 404, "NAME_UNKNOWN"),
    (errors.Unsupported("no"), Subject.NAME, 404, "UNSUPPORTED"),
    (errors.WriteRefused("no"), Subject.NAME, 405, "UNSUPPORTED"),
    (errors.InvalidName("no"), Subject.MANIFEST, 400, "NAME_INVALID"),
    (errors.InvalidTag("no"), Subject.MANIFEST, 400, "TAG_INVALID"),
    (errors.InvalidDigest("no"), Subject.BLOB, 400, "DIGEST_INVALID"),
    (errors.InvalidPage("no"), Subject.NAME, 400, "PAGINATION_NUMBER_INVALID"),
    (errors.InvalidTarget("no"), Subject.NAME, 400, "NAME_INVALID"),
    (errors.RegproxyError("boom in /etc/passwd"), Subject.NAME, 500, "UNKNOWN"),
]


@pytest.mark.parametrize(("error", "subject", "status", "code"), CASES)
def test_row(error: errors.RegproxyError, subject: Subject, status: int, code: str) -> None:
    problem = problem_for(error, subject)
    assert (problem.status, problem.code) == (status, code)
    (entry,) = json.loads(problem.body)["errors"]
    assert set(entry) == {"code", "message", "detail"}
    assert entry["message"]


def test_every_class_is_answered_with_a_thought() -> None:
    """A new error class must get a row, or inherit one that is not the root's."""
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
    for each in classes:
        if issubclass(each, errors.RegproxyError) and each is not errors.RegproxyError:
            nearest = next(base for base in each.__mro__ if base in TABLE)
            assert nearest is not errors.RegproxyError, each


def test_each_challenge_is_a_header_of_its_own() -> None:
    """Clients read one challenge a header (R70)."""
    problem = problem_for(errors.IdentityNeeded("log in", ('Bearer realm="x"', 'Basic realm="y"')))
    assert problem.headers == (
        ("WWW-Authenticate", 'Bearer realm="x"'),
        ("WWW-Authenticate", 'Basic realm="y"'),
    )


def test_upstream_and_reason_are_told() -> None:
    """P14: the client learns who failed and how."""
    problem = problem_for(errors.UpstreamFailed(*UP))
    assert problem.detail == {"upstream": "docker.io", "reason": "it answered 418"}
    assert "docker.io" in problem.message


def test_inner_matters_are_not() -> None:
    for error in (
        errors.StorageFailed("/secret"),
        errors.ContentMissing("/secret"),
        errors.RegproxyError("/secret"),
    ):
        assert b"/secret" not in problem_for(error).body


def test_retry_after() -> None:
    assert problem_for(errors.Throttled(*UP, 7)).headers == (("Retry-After", "7"),)
    assert problem_for(errors.Throttled(*UP, 0)).headers == (("Retry-After", "0"),)
    assert problem_for(errors.Throttled(*UP)).headers == (("Retry-After", str(BACK_OFF_S)),)
    assert problem_for(errors.StorageFailed("x")).headers == (("Retry-After", str(BACK_OFF_S)),)
    assert problem_for(errors.NotFound(*UP)).headers == ()


def test_allow() -> None:
    """R64."""
    assert problem_for(errors.WriteRefused("no")).headers == (("Allow", "GET, HEAD"),)


def test_range_problem_tells_the_size() -> None:
    assert range_problem(10).headers == (("Content-Range", "bytes */10"),)
