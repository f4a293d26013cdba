"""Which rule a tag is under."""

from __future__ import annotations

import pytest

from regproxy.oci.tag import Tag
from regproxy.proxy import tag_rules
from regproxy.proxy.tag_rules import TagRules, is_version
from regproxy.settings import MOVING, VERSIONS, TagRule


def rule(match: str, fresh_s: float = 5) -> TagRule:
    return TagRule(match, fresh_s)


def test_the_first_that_matches_counts() -> None:
    rules = TagRules([rule("v1.*", 1), rule(r"/v\d+/", 2), rule("v*", 3)])
    assert [rules.of(Tag(name)).fresh_s for name in ("v1.2", "v7", "v2.0", "v1")] == [1, 2, 3, 2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("latest", MOVING),
        ("1.29.3-nightly", MOVING),
        ("2.0.0-SNAPSHOT", MOVING),
        ("1.29.3", VERSIONS),
        ("v1.29.3", VERSIONS),
        ("1.29.3-alpine3.20", VERSIONS),
        ("3.13.0rc1-slim", VERSIONS),
        ("2026.11.24", VERSIONS),
        ("1.29", TagRule()),
        ("1", TagRule()),
        ("stable", TagRule()),
        ("sha256-" + "a" * 64 + ".sig", TagRule()),
    ],
)
def test_the_built_in_ones_come_last(name: str, expected: TagRule) -> None:
    assert TagRules(()).of(Tag(name)) == expected
    assert TagRules([rule("*", 7)]).of(Tag(name)).fresh_s == 7
    assert is_version(Tag(name)) == (expected is VERSIONS)


def test_nothing_built_in_is_believed_for_ever() -> None:
    """R54: that a tag never moves is for an operator to say."""
    assert all(found.fresh_s <= 3600 for found in tag_rules.BUILT_IN_TAGS)


def test_a_list_of_tags_is_under_the_first_rule_for_every_tag() -> None:
    assert TagRules([rule("v*", 1), rule("/.*/", 2), rule("*", 3)]).for_all.fresh_s == 2
    assert TagRules([rule("v*", 1)]).for_all == TagRule()


def test_what_is_remembered_is_bounded_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_rules, "MAX_REMEMBERED", 10)
    rules = TagRules([rule("a*", 1), rule("*", 2)])
    for _ in range(2):
        for number in range(50):
            assert rules.of(Tag(f"a{number}")).fresh_s == 1
            assert rules.of(Tag(f"b{number}")).fresh_s == 2
            assert len(rules._found) <= 10
