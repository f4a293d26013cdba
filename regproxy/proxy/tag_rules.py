"""Which rule a tag is under: the first one that matches, the built-in ones last.

Patterns are read once. What was found for a tag is kept: looking a rule up costs a hit next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from regproxy.oci.tag import Tag
from regproxy.oci.tag_patterns import TagPattern
from regproxy.settings import BUILT_IN_TAGS, VERSIONS, TagRule

MAX_REMEMBERED = 8192
"""So many tags' rules are kept; then all are looked up again."""


class TagRules:
    """The rules of one upstream, its own ones first."""

    def __init__(self, rules: Sequence[TagRule]) -> None:
        self._rules = [(TagPattern.parse(rule.match), rule) for rule in (*rules, *BUILT_IN_TAGS)]
        self._found: dict[str, TagRule] = {}
        self.for_all = next(rule for pattern, rule in self._rules if pattern.is_everything)
        """The first rule that matches every tag: a list of tags is under it."""

    def of(self, tag: Tag) -> TagRule:
        """The rule of ``tag``; there always is one."""
        found = self._found.get(tag.name)
        return self._look_up(tag.name) if found is None else found

    def _look_up(self, name: str) -> TagRule:
        if len(self._found) >= MAX_REMEMBERED:
            self._found.clear()
        rule = next(rule for pattern, rule in self._rules if pattern.matches(name))
        self._found[name] = rule
        return rule


_BUILT_IN = TagRules(())


def is_version(tag: Tag) -> bool:
    """Whether the tag looks like a full version, which should mean the same for ever: ``1.29.3-alpine``."""
    return _BUILT_IN.of(tag) is VERSIONS
