"""The lists ``tags``: how long what a tag means is believed.

What cannot be meant is refused, naming both lines: a rule that none of its tags reaches, since one before it
takes them all, and a rule whose settings contradict each other.
"""

from __future__ import annotations

from regproxy.config.declared import content as t
from regproxy.config.section import Section
from regproxy.config.setting import Group, Setting
from regproxy.config.values import show_duration
from regproxy.oci.tag_patterns import TagPattern
from regproxy.settings import TagRule

MAX_RULES = 100
"""In one list: each is compared with those before it."""


def read_tags(section: Section, group: Group) -> tuple[TagRule, ...]:
    """The rules in the file's order; empty where it has none."""
    rules: list[TagRule] = []
    before: list[tuple[int, TagPattern]] = []
    for rule in section.listed(group):
        if len(rules) == MAX_RULES:
            rule.report.wrong(rule.line, section.path(group.key), f"expected at most {MAX_RULES} rules")
            break
        rules.append(_rule(rule))
        _check_settings(rule, rules[-1])
        _check_reached(rule, rules[-1], before)
    return tuple(rules)


def _rule(rule: Section) -> TagRule:
    return TagRule(
        match=rule.value(t.MATCH),
        fresh_s=rule.value(t.FRESH),
        revalidate_wait_s=rule.value(t.REVALIDATE_WAIT),
        stale_if_error_s=rule.value(t.STALE_IF_ERROR),
        grace_s=rule.value(t.GRACE),
        keep_missing=rule.value(t.ON_MISSING) == "keep",
        serve_denied=rule.value(t.ON_DENIED) == "stale",
        line=rule.line,
    )


def _check_reached(rule: Section, found: TagRule, before: list[tuple[int, TagPattern]]) -> None:
    """Whether a tag comes to this rule, which is put behind those ``before`` it."""
    if rule.has(t.MATCH) and rule.optional(t.MATCH) is None:
        return  # its pattern is none, which is said already
    pattern = TagPattern.parse(found.match)
    for line, earlier in before:
        if earlier.covers(pattern):
            rule.wrong(t.MATCH.key, f"never reached: the rule of line {line} {_takes(earlier, pattern)}")
            return
    before.append((rule.line_of(t.MATCH.key), pattern))


def _takes(earlier: TagPattern, pattern: TagPattern) -> str:
    if earlier.text == pattern.text:
        return "has the same match"
    return "matches everything" if earlier.is_everything else "matches all that this one does"


def _check_settings(rule: Section, found: TagRule) -> None:
    stale_s = found.stale_if_error_s
    limit = f"stale_if_error is {show_duration(stale_s)} ({_place(rule, t.STALE_IF_ERROR)})"
    if found.grace_s > stale_s:
        rule.wrong(t.GRACE.key, f"longer than it may be served unconfirmed: {limit}")
    if stale_s > 0:
        return
    if found.keep_missing:
        rule.wrong(t.ON_MISSING.key, f"nothing may be served stale: {limit}")
    if found.serve_denied:
        rule.wrong(t.ON_DENIED.key, f"nothing may be served stale: {limit}")
    if rule.has(t.REVALIDATE_WAIT):
        rule.warn(t.REVALIDATE_WAIT.key, f"has no effect: nothing may be served instead, {limit}")


def _place(rule: Section, setting: Setting[float]) -> str:
    return f"line {rule.line_of(setting.key)}" if rule.has(setting) else "its default"
