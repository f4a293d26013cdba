"""Who may pull what: one function, over everything that may be asked."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.access import policy as room
from regproxy.access.identity import ANONYMOUS, Identity, NamePattern, Proof
from regproxy.access.policy import ALLOWED, MAX_KNOWN, Policy
from regproxy.oci.patterns import RepositoryPattern
from regproxy.oci.repository import Repository
from regproxy.settings import Credentials, Pattern, UpstreamSettings

ALICE = Identity("alice", Proof.PASSWORD)
BOB = Identity("bob", Proof.PASSWORD)
NODE = Identity("node-7", Proof.CERTIFICATE)
CORP = "registry.corp.example"


def upstream(name: str = CORP, **changes: object) -> UpstreamSettings:
    return UpstreamSettings(name, (f"https://{name}",), **changes)  # type: ignore[arg-type]


def patterns(*globs: str, line: int = 10) -> tuple[Pattern, ...]:
    return tuple(Pattern(glob, line + number) for number, glob in enumerate(globs))


def pulls(policy: Policy, identity: Identity, path: str, name: str = CORP) -> str | None:
    """Why not; None: it may. The remembered answer is the first one."""
    repository = Repository(name, path)
    verdict = policy.pulls(identity, repository)
    assert policy.pulls(identity, repository) == verdict == policy.judge(identity, repository)
    return verdict.reason


def test_without_rules_everyone_may_everything() -> None:
    assert Policy([upstream()]).pulls(ANONYMOUS, Repository(CORP, "a")) is ALLOWED


def test_nobody_may_anything_where_all_must_be_known() -> None:
    policy = Policy([upstream()], anonymous=False)
    verdict = policy.pulls(ANONYMOUS, Repository(CORP, "a"))
    assert (verdict.allows, verdict.identify) == (False, True)
    assert not policy.enters(ANONYMOUS).allows
    assert policy.enters(ALICE) is policy.pulls(ALICE, Repository(CORP, "a")) is ALLOWED


def test_a_refusal_names_the_line() -> None:
    policy = Policy(
        [upstream(allow=patterns("team-a/**", line=7), deny=patterns("x/*", "**/secret-*", line=11))]
    )
    assert pulls(policy, ANONYMOUS, "team-a/app") is None
    assert pulls(policy, ANONYMOUS, "team-a/secret-1") == (
        f"this mirror does not serve this repository: upstreams.{CORP}.deny, line 12"
    )
    assert pulls(policy, ANONYMOUS, "team-b/app") == (
        f"this mirror serves other repositories only: upstreams.{CORP}.allow, line 7"
    )


def test_users_are_for_one_upstream_and_two_of_them_differ() -> None:
    policy = Policy([upstream(users=patterns("alice", "certificate:node-*", line=5)), upstream("ghcr.io")])
    assert pulls(policy, ALICE, "a") is pulls(policy, NODE, "a") is None
    assert pulls(policy, BOB, "a") == (
        f"you are not among those who may use this upstream: upstreams.{CORP}.users, line 5"
    )
    assert pulls(policy, Identity("node-7", Proof.PASSWORD), "a") is not None
    verdict = policy.pulls(ANONYMOUS, Repository(CORP, "a"))
    assert (verdict.allows, verdict.identify) == (False, True)
    assert pulls(policy, ANONYMOUS, "a", "ghcr.io") is pulls(policy, BOB, "a", "ghcr.io") is None


def test_credentials_that_are_not_public_are_for_clients_that_are_known() -> None:
    """Also where everyone may ask for the rest (P19)."""
    policy = Policy([upstream(credentials=Credentials("me", "pw"))])
    assert pulls(policy, ANONYMOUS, "a") is not None
    assert pulls(policy, ALICE, "a") is None
    assert pulls(Policy([upstream(credentials=Credentials("me", "pw"), public=True)]), ANONYMOUS, "a") is None


def test_who_is_asked_before_what() -> None:
    """Whoever is not known learns nothing of patterns."""
    policy = Policy([upstream(users=patterns("alice"), deny=patterns("x"))])
    assert policy.pulls(ANONYMOUS, Repository(CORP, "x")) == policy.pulls(ANONYMOUS, Repository(CORP, "y"))


def token(*names: str, lists: bool = False, subject: str = "ci") -> Identity:
    return Identity(subject, Proof.TOKEN, frozenset(names), lists)


HUB = upstream("docker.io", default=True, library=True)


@pytest.mark.parametrize(
    ("granted", "upstream_name", "path"),
    [
        (f"{CORP}/team/app", CORP, "team/app"),
        ("docker.io/library/nginx", "docker.io", "library/nginx"),
        ("docker.io/nginx", "docker.io", "library/nginx"),
        ("library/nginx", "docker.io", "library/nginx"),
        ("nginx", "docker.io", "library/nginx"),
        ("org/app", "docker.io", "org/app"),
    ],
)
def test_a_token_lets_pull_what_it_names(granted: str, upstream_name: str, path: str) -> None:
    policy = Policy([HUB, upstream()])
    assert pulls(policy, token(granted), path, upstream_name) is None
    assert policy.pulls(token(), Repository(upstream_name, path)).short


@pytest.mark.parametrize(
    ("granted", "upstream_name", "path"),
    [
        ("team/app", CORP, "team/app"),
        ("nginx", CORP, "nginx"),
        ("docker.io/team/app", CORP, "team/app"),
        (f"{CORP}/team/app", CORP, "team/app/more"),
        (f"{CORP}/team/app", CORP, "team"),
        (f"{CORP}/library/app", CORP, "app"),
        (f"{CORP}/team/app", "docker.io", f"{CORP}/team/app"),
    ],
)
def test_and_nothing_else(granted: str, upstream_name: str, path: str) -> None:
    """A short name means the default upstream only, never the same name elsewhere."""
    verdict = Policy([HUB, upstream()]).judge(token(granted), Repository(upstream_name, path))
    assert (verdict.allows, verdict.identify, verdict.short) == (False, True, True)


def test_rules_hold_for_tokens_too() -> None:
    policy = Policy([upstream(users=patterns("ci"), deny=patterns("secret"))])
    assert pulls(policy, token(f"{CORP}/a"), "a") is None
    assert pulls(policy, token(f"{CORP}/secret"), "secret") is not None
    assert pulls(policy, token(f"{CORP}/a", subject="other"), "a") is not None


def test_listings_have_what_may_be_pulled() -> None:
    policy = Policy([upstream(deny=patterns("secret"))])
    seen = [name for name in ("a", "secret") if policy.sees(token(f"{CORP}/a"), Repository(CORP, name))]
    assert seen == ["a"]
    assert policy.sees(token(lists=True), Repository(CORP, "other"))
    assert not policy.sees(token(lists=True), Repository(CORP, "secret"))


def test_what_is_remembered_is_bounded() -> None:
    policy = Policy([upstream(deny=patterns("x"))])
    for number in range(MAX_KNOWN + 10):
        policy.pulls(ANONYMOUS, Repository(CORP, f"a{number}"))
    assert policy._known.cache_info().currsize <= MAX_KNOWN


NAMES = st.sampled_from(["alice", "bob", "node-1", "*", "node-*", "certificate:*", "password:alice"])
GLOBS = st.sampled_from(["**", "*", "a/*", "a/**", "**/s", "b"])
PATHS = st.sampled_from(["a", "b", "a/s", "a/b", "a/b/s", "s"])
PEOPLE = st.sampled_from([ANONYMOUS, ALICE, BOB, NODE, token(), token(f"{CORP}/a"), token("a/s")])


def lists(kind: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[Pattern, ...]]:
    return st.lists(kind, max_size=3).map(lambda globs: patterns(*globs))


@given(lists(GLOBS), lists(GLOBS), lists(NAMES), st.booleans(), st.booleans(), PEOPLE, PATHS)
def test_every_verdict_follows_from_the_rules(allow, deny, users, private, anonymous, who, path) -> None:
    """May: only if each rule says so. May not: for the first reason in their order."""
    credentials = Credentials("me", "pw") if private else None
    settings = upstream(allow=allow, deny=deny, users=users, credentials=credentials)
    verdict = Policy([settings], anonymous).pulls(who, Repository(CORP, path))
    known = who.known or (anonymous and not users and not private)
    listed = not users or any(NamePattern.parse(each.glob).matches(who) for each in users)
    denied = any(RepositoryPattern.parse(each.glob).matches(path) for each in deny)
    allowed = not allow or any(RepositoryPattern.parse(each.glob).matches(path) for each in allow)
    granted = who.grants is None or f"{CORP}/{path}" in who.grants
    assert verdict.allows == (known and listed and allowed and not denied and granted)
    if not verdict.allows:
        assert verdict.identify == (not known or (listed and allowed and not denied))
        assert ("line" in (verdict.reason or "")) == (not verdict.identify)


def test_the_decision_is_pure() -> None:
    """It knows neither files nor clocks nor sockets."""
    assert not any(word in inspect.getsource(room) for word in ("twisted", "import os", "import time"))
