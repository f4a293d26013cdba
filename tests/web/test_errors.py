"""The table of errors: every row of R60, every class covered, no raw input repeated."""

from __future__ import annotations

import errno
import inspect
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, ResponseFailed

from regproxy import errors
from regproxy.upstream.answers import judge, judge_form
from regproxy.upstream.failures import explain
from regproxy.upstream.tls import CertificateUnusable
from regproxy.web.errors import BACK_OFF_S, TABLE, UNEXPECTED, Subject, problem_for, range_problem
from regproxy.web.hints import hint_for

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
    (errors.UpstreamDown(*UP, 1.0, 5), Subject.BLOB, 503, "UNAVAILABLE"),
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
    """P14: the client learns who failed and how, and what can be done."""
    problem = problem_for(errors.UpstreamFailed(*UP))
    assert problem.detail == {
        "upstream": "docker.io",
        "reason": "it answered 418",
        "hint": "try again; if it lasts, it is for docker.io to mend: its status page may say more",
    }
    assert "docker.io" in problem.message


def test_all_that_is_known_is_told() -> None:
    """P14: upstream, its status, how long was tried, since when it is down, what can be done."""
    error = errors.UpstreamFailed(*UP)
    error.status, error.tried_s, error.since_s = 503, 1.23456, 1_795_500_000.9
    detail = problem_for(error).detail
    assert (detail["status"], detail["tried_s"]) == (503, 1.235)
    assert detail["since"] == "2026-11-24T06:00:00Z"


def test_what_is_for_the_log_is_not_for_clients() -> None:
    error = errors.UpstreamRefused("docker.io", "its password file cannot be read", "/etc/secret: EACCES")
    assert error.for_log == "docker.io: its password file cannot be read (/etc/secret: EACCES)"
    assert b"/etc" not in problem_for(error).body


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.Throttled(*UP, 7), "after 7 s"),
        (errors.Throttled(*UP), "in some minutes"),
        (errors.UpstreamDown(*UP, retry_after_s=9), "tried again in 9 s"),
        (errors.UpstreamDown(*UP), "its operator knows when"),
        (errors.NotFound(*UP), "whether name and tag are right"),
        (errors.Denied(*UP), "'credentials' for docker.io"),
        (errors.UpstreamRefused(*UP), "'credentials' of docker.io"),
        (errors.UpstreamUnreachable(*UP), "firewall"),
        (errors.UpstreamTimeout(*UP), "too slow"),
        (errors.ContentMismatch(*UP), "damaged"),
        (errors.ManifestRefused(*UP), "damaged"),
        (errors.RangeIgnored(*UP), "log says more"),
    ],
)
def test_what_can_be_done(error: errors.UpstreamError, told: str) -> None:
    assert told in hint_for(error)


SPEC_CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "UNAUTHORIZED",
        "DENIED",
        "UNSUPPORTED",
        "TOOMANYREQUESTS",
        "UNKNOWN",
        "UNAVAILABLE",
        "TAG_INVALID",
        "PAGINATION_NUMBER_INVALID",
    }
)
"""The spec's fourteen, and distribution's four that R60 allows."""


def test_no_code_of_our_own() -> None:
    codes = {row.code for row in TABLE.values() if row.code} | {each.value for each in Subject}
    assert codes | {UNEXPECTED.code, range_problem(1).code} <= SPEC_CODES


STATUSES = [
    (404, 404, "BLOB_UNKNOWN"),
    (410, 404, "BLOB_UNKNOWN"),
    (401, 403, "DENIED"),
    (403, 403, "DENIED"),
    (429, 429, "TOOMANYREQUESTS"),
    (500, 502, "UNAVAILABLE"),
    (502, 502, "UNAVAILABLE"),
    (503, 502, "UNAVAILABLE"),
    (504, 502, "UNAVAILABLE"),
    (418, 502, "UNAVAILABLE"),
    (201, 502, "UNAVAILABLE"),
]


@pytest.mark.parametrize(("given", "status", "code"), STATUSES)
def test_what_a_status_becomes(given: int, status: int, code: str) -> None:
    """R60, from the upstream's status to the client's; each answer names the former."""
    error = judge("docker.io", "registry-1.docker.io", "a blob", given)
    assert error is not None
    problem = problem_for(error, Subject.BLOB)
    assert (problem.status, problem.code, problem.detail["status"]) == (status, code, given)


SECRETS = ("hunter2", "/etc/regproxy", "eyJhbGciOi", "10.9.8.7")
"""What stands for a password, a path, a token and an address of ours in whatever is handed in."""
LOADED = st.sampled_from(SECRETS).flatmap(lambda secret: st.text(max_size=8).map(lambda x: x + secret + x))
CLASSES = [each.__name__ for _, each in inspect.getmembers(errors, inspect.isclass)]
CLASSES += ["OSError", "ConnectionLost", "ResponseFailed", "Traceback", "DNSLookupError", "SSL.Error"]


def transport_errors() -> st.SearchStrategy[BaseException]:
    """What connections die of, with texts that no client must see."""
    return LOADED.flatmap(
        lambda text: st.sampled_from(
            [
                OSError(text),
                OSError(errno.EACCES, "Permission denied", text),
                ConnectError(None, text),
                ConnectionLost(text),
                ConnectionDone(text),
                ConnectionRefusedError(None, text),
                DNSLookupError(text),
                ResponseFailed([Failure(ConnectionLost(text))]),
                ResponseFailed([Failure(ValueError(text))]),
                CertificateUnusable(text),
                RequestGenerationFailed([Failure(OSError(text))]),
            ]
        )
    )


@given(
    st.integers(200, 599),
    LOADED,
    LOADED,
    LOADED,
    transport_errors(),
    st.sampled_from(list(Subject)),
    st.data(),
)
def test_no_body_has_what_is_not_a_clients_business(
    status: int,
    retry_after: str,
    content_type: str,
    coding: str,
    lost: BaseException,
    subject: Subject,
    data: st.DataObject,
) -> None:
    """No header of an answer, credential, path, address of ours, or name of a class, whatever went wrong."""
    host = "registry-1.docker.io"
    inner = errors.UpstreamRefused("docker.io", "the mirror cannot read its password file", retry_after)
    found = [
        judge("docker.io", host, "a blob", status, retry_after, 0.0, anonymous=data.draw(st.booleans())),
        judge_form("docker.io", host, "a blob", content_type, coding),
        explain("docker.io", host, lost),
        inner,
        errors.StorageFailed(retry_after),
        errors.ContentMissing(retry_after),
        errors.RegproxyError(retry_after),
        errors.SecretUnusable(retry_after),
        errors.TransferStopped(retry_after),
    ]
    for error in filter(None, found):
        body = problem_for(error, subject).body.decode("ascii")
        (entry,) = json.loads(body)["errors"]
        told = json.dumps([entry["message"], entry["detail"]], ensure_ascii=False)
        assert not [secret for secret in SECRETS if secret in told], told
        assert not [name for name in CLASSES if re.search(rf"\b{re.escape(name)}\b", told)], told
        assert len(body) < 2048


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
    assert problem_for(errors.UpstreamDown(*UP, 1.0, 5)).headers == (("Retry-After", "5"),)
    assert problem_for(errors.UpstreamDown(*UP)).headers == (("Retry-After", str(BACK_OFF_S)),)
    assert problem_for(errors.UpstreamDown(*UP, 1.0)).detail["since"] == "1970-01-01T00:00:01Z"
    assert problem_for(errors.StorageFailed("x")).headers == (("Retry-After", str(BACK_OFF_S)),)
    assert problem_for(errors.NotFound(*UP)).headers == ()


def test_allow() -> None:
    """R64."""
    assert problem_for(errors.WriteRefused("no")).headers == (("Allow", "GET, HEAD"),)


def test_range_problem_tells_the_size() -> None:
    assert range_problem(10).headers == (("Content-Range", "bytes */10"),)
