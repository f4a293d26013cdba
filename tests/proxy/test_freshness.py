"""How long a tag is believed, and what may be served in place of an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.errors import Denied, NotFound, Throttled, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from regproxy.interfaces import TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.manifest import Descriptor
from regproxy.oci.tag import Tag
from regproxy.proxy.freshness import Freshness, age_s, judge, may_serve_stale, rule_for, stale_warning
from regproxy.settings import TagRule

DESCRIPTOR = Descriptor(Digest.of(b"x"), 1, "application/vnd.oci.image.manifest.v1+json")
RULE = TagRule("*", fresh_s=60, revalidate_wait_s=2, stale_if_error_s=3600)
times = st.floats(0, 4e9, allow_nan=False)


def record(checked_s: float) -> TagRecord:
    return TagRecord(DESCRIPTOR, None, checked_s)


def test_nothing_known_means_ask():
    assert judge(None, RULE, 5.0) is Freshness.UNKNOWN


@given(checked=times, now=times)
def test_fresh_only_within_its_time_and_never_from_the_future(checked, now):
    fresh = judge(record(checked), RULE, now) is Freshness.FRESH
    assert fresh == (0 <= now - checked < 60)


@given(checked=times, now=times)
def test_an_age_is_never_negative(checked, now):
    assert age_s(record(checked), now) >= 0


@pytest.mark.parametrize(
    "error",
    [
        None,
        UpstreamUnreachable("u", "x"),
        UpstreamTimeout("u", "x"),
        UpstreamFailed("u", "x"),
        Throttled("u", "x"),
    ],
)
def test_trouble_serves_what_is_cached_up_to_the_rules_end(error):
    assert may_serve_stale(record(1000), RULE, 1000 + 3660, error)
    assert not may_serve_stale(record(1000), RULE, 1000 + 3661, error)


@pytest.mark.parametrize("error", [NotFound("u", "404"), Denied("u", "403"), RuntimeError("ours")])
def test_answers_are_believed_and_faults_of_ours_are_not_hidden(error):
    assert not may_serve_stale(record(1000), RULE, 1001, error)


def test_an_upstreams_own_rules_come_first_and_a_tag_without_rule_has_the_defaults():
    own, common = [TagRule("*", fresh_s=5)], [TagRule("*", fresh_s=7)]
    assert rule_for(Tag.parse("latest"), own, common).fresh_s == 5
    assert rule_for(Tag.parse("latest"), [], common).fresh_s == 7
    assert rule_for(Tag.parse("latest"), [TagRule("other")]) == TagRule()


def test_the_warning_names_upstream_reason_and_time():
    text = stale_warning(
        "docker.io", UpstreamUnreachable("docker.io", "connection refused"), record(1_795_500_000)
    )
    assert text == "stale: docker.io: connection refused; last confirmed 2026-11-24T06:00:00Z"
    assert "has not answered in time" in stale_warning("docker.io", None, record(0))
