"""The lists ``tags``: how long what a tag means is believed."""

from __future__ import annotations

from regproxy.config.declared import content as t
from regproxy.config.section import Section
from regproxy.config.setting import Group
from regproxy.settings import TagRule


def read_tags(section: Section, group: Group) -> tuple[TagRule, ...]:
    """The rules in the file's order; empty where it has none. One is all there can be so far."""
    rules: list[TagRule] = []
    for rule in section.listed(group):
        if rules:
            rule.report.wrong(
                rule.line, section.path(group.key), "a second rule: this version has one rule for all tags"
            )
        rules.append(_rule(rule))
    return tuple(rules)


def _rule(rule: Section) -> TagRule:
    return TagRule(
        match=rule.value(t.MATCH),
        fresh_s=rule.value(t.FRESH),
        revalidate_wait_s=rule.value(t.REVALIDATE_WAIT),
        stale_if_error_s=rule.value(t.STALE_IF_ERROR),
    )
