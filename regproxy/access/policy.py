"""May this identity pull this repository? The one place that says so, for every shape of URL.

Pure. Laws: the order is who, then what, so that whoever is not known learns nothing of the rules;
``deny`` wins over ``allow``; nothing is looked up, neither on disk nor upstream, before it was asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import attrs

from regproxy.access.identity import Identity, NamePattern
from regproxy.oci.patterns import RepositoryPattern
from regproxy.oci.repository import Repository
from regproxy.settings import Pattern, UpstreamSettings

MAX_KNOWN = 4096
"""So many verdicts are remembered: nodes of a cluster ask for the same things."""
_LIBRARY = "library/"


@attrs.frozen(slots=True)
class Verdict:
    """``reason`` None: it may. ``identify``: another, or a better, proof of who asks may help.

    ``short``: the token does not reach so far.
    """

    reason: str | None = None
    identify: bool = False
    short: bool = False

    @property
    def allows(self) -> bool:
        """Whether it may."""
        return self.reason is None


ALLOWED = Verdict()
LOG_IN = Verdict("this mirror serves only clients that it knows: log in to it", identify=True)
LOG_IN_FOR_THIS = Verdict("this upstream is for clients that the mirror knows: log in to it", identify=True)
TOO_SHORT = Verdict("the token does not let pull this repository", identify=True, short=True)


@attrs.frozen(slots=True)
class _Rules:
    """What the settings say about one upstream, patterns read."""

    settings: UpstreamSettings
    allow: tuple[tuple[RepositoryPattern, Pattern], ...]
    deny: tuple[tuple[RepositoryPattern, Pattern], ...]
    users: tuple[NamePattern, ...]

    @classmethod
    def of(cls, settings: UpstreamSettings) -> _Rules:
        return cls(
            settings,
            tuple((RepositoryPattern.parse(each.glob), each) for each in settings.allow),
            tuple((RepositoryPattern.parse(each.glob), each) for each in settings.deny),
            tuple(NamePattern.parse(each.glob) for each in settings.users),
        )

    @property
    def none(self) -> bool:
        return not (self.allow or self.deny or self.settings.guarded)


class Policy:
    """The rules of one set of settings; built once, never changed."""

    def __init__(self, upstreams: Iterable[UpstreamSettings], anonymous: bool = True) -> None:
        self._anonymous = anonymous
        self._rules = {upstream.name: _Rules.of(upstream) for upstream in upstreams}
        self._open = frozenset(name for name, rules in self._rules.items() if rules.none)
        self._known = lru_cache(MAX_KNOWN)(self.judge)

    def enters(self, identity: Identity) -> Verdict:
        """Whether ``identity`` may ask for anything at all."""
        return ALLOWED if self._anonymous or identity.known else LOG_IN

    def uses(self, identity: Identity, upstream: str) -> Verdict:
        """Whether ``identity`` may ask for anything of ``upstream``."""
        verdict = self.enters(identity)
        if not verdict.allows or upstream in self._open:
            return verdict
        return _may_use(self._rules[upstream], identity)

    def pulls(self, identity: Identity, repository: Repository) -> Verdict:
        """Whether ``identity`` may read anything of ``repository``: GET and HEAD, hit and miss alike."""
        if repository.upstream in self._open and identity.grants is None:
            return self.enters(identity)
        return self._known(identity, repository)

    def judge(self, identity: Identity, repository: Repository) -> Verdict:
        """As :meth:`pulls`, nothing remembered: in any thread."""
        verdict = self.uses(identity, repository.upstream)
        if not verdict.allows:
            return verdict
        verdict = _may_be_pulled(self._rules[repository.upstream], repository)
        if verdict.allows and not self._granted(identity, repository):
            return TOO_SHORT
        return verdict

    def sees(self, identity: Identity, repository: Repository) -> bool:
        """Whether a listing for ``identity`` has the name of ``repository``; in any thread."""
        verdict = self.judge(identity, repository)
        return verdict.allows or (verdict.short and identity.lists)

    def _granted(self, identity: Identity, repository: Repository) -> bool:
        """By the whole name, or, of the default upstream, by the name that its clients write.

        A name that begins with an upstream's is never a short one.
        """
        grants = identity.grants
        if grants is None:
            return True
        settings = self._rules[repository.upstream].settings
        names = [repository.path]
        if settings.library and repository.path.startswith(_LIBRARY):
            names.append(repository.path.removeprefix(_LIBRARY))
        if any(f"{repository.upstream}/{name}" in grants for name in names):
            return True
        return settings.default and any(
            name in grants for name in names if name.partition("/")[0] not in self._rules
        )


def _may_use(rules: _Rules, identity: Identity) -> Verdict:
    if rules.settings.guarded and not identity.known:
        return LOG_IN_FOR_THIS
    if rules.users and not any(pattern.matches(identity) for pattern in rules.users):
        return _refused("you are not among those who may use this upstream", rules.settings, "users")
    return ALLOWED


def _may_be_pulled(rules: _Rules, repository: Repository) -> Verdict:
    denied = next((written for pattern, written in rules.deny if pattern.matches(repository.path)), None)
    if denied is not None:
        return _refused("this mirror does not serve this repository", rules.settings, "deny", denied.line)
    if rules.allow and not any(pattern.matches(repository.path) for pattern, _ in rules.allow):
        return _refused("this mirror serves other repositories only", rules.settings, "allow")
    return ALLOWED


def _refused(sentence: str, upstream: UpstreamSettings, key: str, line: int = 0) -> Verdict:
    """A refusal that names the line of the settings that its operator would change."""
    written: tuple[Pattern, ...] = getattr(upstream, key)
    where = line or written[0].line
    return Verdict(f"{sentence}: upstreams.{upstream.name}.{key}" + (f", line {where}" if where else ""))
