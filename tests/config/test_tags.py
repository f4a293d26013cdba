"""The lists ``tags``: rules that no tag reaches, and rules that contradict themselves, end the start."""

from __future__ import annotations

import time

import pytest

from regproxy.config.tags import MAX_RULES
from tests.config.conftest import Faults, Load


def rules(*lines: str) -> str:
    return "\n".join(("tags:", *(f"- {{{line}}}" for line in lines)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            rules("match: '*'", "match: v1"),
            ["f:3: tags[1].match: never reached: the rule of line 2 matches everything"],
        ),
        (
            rules("fresh: 5m", "match: v1", "match: v2"),
            [
                "f:3: tags[1].match: never reached: the rule of line 2 matches everything",
                "f:4: tags[2].match: never reached: the rule of line 2 matches everything",
            ],
        ),
        (
            rules("match: 'v1'", "match: '/.*/'", "match: 'v2*'"),
            ["f:4: tags[2].match: never reached: the rule of line 3 matches everything"],
        ),
        (
            rules("match: v1.*", "match: v2.*", "match: v1.*"),
            ["f:4: tags[2].match: never reached: the rule of line 2 has the same match"],
        ),
        (
            rules("match: v*", r"match: '/v\d+/'"),
            ["f:3: tags[1].match: never reached: the rule of line 2 matches all that this one does"],
        ),
    ],
)
def test_a_rule_that_is_never_reached_is_an_error_that_names_both(
    faults: Faults, text: str, says: list[str]
) -> None:
    assert faults(text) == says


def test_the_rules_of_an_upstream_are_a_list_of_their_own(faults: Faults, read: Load) -> None:
    found = read("tags: [{fresh: 5m}]\nupstreams: {a.example: {tags: [{match: v1, fresh: 1h}, {fresh: 2m}]}}")
    assert [rule.fresh_s for rule in found.upstreams[0].tags] == [3600, 120]
    (told,) = faults("upstreams:\n  a.example:\n    tags:\n    - {}\n    - {match: v1}")
    assert (
        told == "f:5: upstreams.a.example.tags[1].match: never reached: the rule of line 4 matches everything"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "tags:\n- grace: 2d\n  stale_if_error: 1d",
            ["f:2: tags[0].grace: longer than it may be served unconfirmed: stale_if_error is 1d (line 3)"],
        ),
        (
            "tags:\n- grace: 31d",
            [
                "f:2: tags[0].grace: longer than it may be served unconfirmed: stale_if_error is 30d "
                "(its default)"
            ],
        ),
        (
            "tags:\n- stale_if_error: 0s\n  on_missing: keep\n  on_denied: stale",
            [
                "f:3: tags[0].on_missing: nothing may be served stale: stale_if_error is 0s (line 2)",
                "f:4: tags[0].on_denied: nothing may be served stale: stale_if_error is 0s (line 2)",
            ],
        ),
    ],
)
def test_a_rule_that_contradicts_itself_is_an_error_that_names_both(
    faults: Faults, text: str, says: list[str]
) -> None:
    assert faults(text) == says


def test_a_wait_for_nothing_is_told(read: Load) -> None:
    [told] = read("tags:\n- stale_if_error: 0s\n  revalidate_wait: 3s").warnings
    assert told.endswith(
        ":3: tags[0].revalidate_wait: has no effect: nothing may be served instead, stale_if_error is 0s "
        "(line 2)"
    )


def test_a_pattern_that_is_none_is_told_once(faults: Faults) -> None:
    (told,) = faults(rules("match: '/(a+/'", "match: v1"))
    assert told.startswith("f:2: tags[0].match: expected")


def test_many_rules_are_read_in_no_time_and_too_many_refused(faults: Faults, read: Load) -> None:
    many = [f"match: '/v{number}(a|b)*.*c{number}/'" for number in range(MAX_RULES)]
    began = time.process_time()
    assert len(read(rules(*many)).tags) == MAX_RULES
    assert time.process_time() - began < 5
    assert faults(rules(*many, "match: x", "match: y")) == [
        f"f:{MAX_RULES + 2}: tags: expected at most {MAX_RULES} rules"
    ]
