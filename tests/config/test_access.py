"""The section access, and the rules of upstreams that need it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from regproxy.settings import AccessSettings, Pattern, TokenSettings
from tests.config.conftest import Faults, Load

CREDENTIALS = "credentials: {username: u, password: x}"
CERTIFIED = "'ssl:443:privateKey=key.pem:clientCA=ca.pem'"
ELSE = "htpasswd or tokens, or clientCA on an ssl: listener"


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    for name in ("users", "keys", "ca.pem", "key.pem"):
        (tmp_path / name).touch()


def test_without_a_word_local_networks_may_ask(read: Load) -> None:
    assert read("").access == AccessSettings()
    assert read("access: {}").access == AccessSettings()


def test_everything_written(read: Load, tmp_path: Path) -> None:
    tokens = "{issuer: me, audience: mirror, keys_file: keys, realm: https://auth.example/token}"
    found = read(
        "access:\n  networks: [10.0.0.0/8]\n  trusted_proxies: [10.0.0.5, fd00::/64]\n  htpasswd: users\n"
        f"  tokens: {tokens}\n  catalog: true\n  anonymous: true\n"
    ).access
    assert found == AccessSettings(
        networks=(ip_network("10.0.0.0/8"),),
        trusted_proxies=(ip_network("10.0.0.5"), ip_network("fd00::/64")),
        htpasswd=tmp_path / "users",
        tokens=TokenSettings("me", "mirror", tmp_path / "keys", "https://auth.example/token"),
        anonymous=True,
        catalog=True,
    )


@pytest.mark.parametrize(
    ("text", "anonymous"),
    [
        ("access: {htpasswd: users}", False),
        ("access: {tokens: {issuer: me, audience: a, keys_file: keys}}", False),
        ("listen: ssl:443:privateKey=key.pem:clientCA=ca.pem", False),
        ("listen: ssl:443:privateKey=key.pem:clientCA=ca.pem:clientCertificate=optional", False),
        (f"upstreams: {{a.example: {{listen: {CERTIFIED}}}}}", False),
        ("listen: ssl:443:privateKey=key.pem", True),
        ("access: {htpasswd: users, anonymous: true}", True),
    ],
)
def test_where_clients_can_say_who_they_are_they_must(read: Load, text: str, anonymous: bool) -> None:
    assert read(text).access.anonymous is anonymous


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("access: {networks: []}", ["f:1: access.networks: an empty list: nobody could ask"]),
        (
            "access: {htpasswd: none}",
            ["f:1: access.htpasswd: expected a file that can be read: No such file or directory"],
        ),
        (
            "access: {tokens: {issuer: me}}",
            ["f:1: access.tokens: audience is missing", "f:1: access.tokens: keys_file is missing"],
        ),
        (
            "access: {tokens: {issuer: me, audience: a, keys_file: keys, realm: 'https://u:p@x'}}",
            ["f:1: access.tokens.realm: expected https://HOST/PATH, without user, password or query"],
        ),
        (
            "access: {anonymous: false}",
            [
                "f:1: access.anonymous: nobody could ask: there is no htpasswd, no tokens, "
                "and no listener with clientCA"
            ],
        ),
        ("access: {trusted_proxies: [proxy.example]}", None),
        ("access: {passwords: users}", None),
    ],
)
def test_what_is_refused(faults: Faults, text: str, says: list[str] | None) -> None:
    found = faults(text)
    assert found == says if says is not None else len(found) == 1


@pytest.mark.parametrize("key", ["listen", "admin"])
def test_a_proxied_listener_needs_the_addresses_of_its_proxies(read: Load, faults: Faults, key: str) -> None:
    """Whoever reaches it may claim any address."""
    (line,) = faults(f"{key}: ['haproxy:tcp:7000']")
    assert line == (
        f"f:1: {key}: haproxy: believes whoever connects: write the addresses of your balancers as "
        "access.trusted_proxies"
    )
    assert read(
        f"{key}: ['haproxy:tcp:7000']\naccess: {{trusted_proxies: [10.0.0.5]}}"
    ).access.trusted_proxies
    read(f"{key}: ['haproxy:unix:/run/a.sock']")


def test_credentials_stop_the_start_and_both_lines_are_named(faults: Faults) -> None:
    text = f"access:\n  networks: [10.0.0.0/8]\nupstreams:\n  a.example:\n    {CREDENTIALS}\n"
    assert faults(text) == [
        "f:5: upstreams.a.example.credentials: all whom access lets in could pull what these may: if that is "
        "meant, write public: true under the upstream of line 4; else ask clients who they are in access, "
        f"line 1: {ELSE}"
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"upstreams: {{a.example: {{public: true, {CREDENTIALS}}}}}",
        f"access: {{htpasswd: users}}\nupstreams: {{a.example: {{{CREDENTIALS}}}}}",
        f"access: {{htpasswd: users, anonymous: true}}\nupstreams: {{a.example: {{{CREDENTIALS}}}}}",
        "access: {tokens: {issuer: me, audience: a, keys_file: keys}}\n"
        f"upstreams: {{a.example: {{{CREDENTIALS}}}}}",
        f"listen: ssl:443:privateKey=key.pem:clientCA=ca.pem\nupstreams: {{a.example: {{{CREDENTIALS}}}}}",
        f"upstreams: {{a.example: {{{CREDENTIALS}, listen: {CERTIFIED}}}}}",
    ],
)
def test_one_of_both_is_enough(read: Load, text: str) -> None:
    (upstream,) = read(text).upstreams
    assert upstream.guarded is not upstream.public


def test_users_where_nobody_is_known_stop_the_start(faults: Faults) -> None:
    (line,) = faults("upstreams:\n  a.example:\n    users: [alice]\n")
    assert line.startswith(
        "f:3: upstreams.a.example.users: nobody is known by name: ask clients who they are"
    )


def test_each_pattern_knows_its_line(read: Load) -> None:
    (upstream,) = read(
        "access: {htpasswd: users}\nupstreams:\n  a.example:\n    allow:\n      - team-a/**\n"
        "      - library/*\n    deny: ['**/secret-*', x]\n    users: alice\n"
    ).upstreams
    assert upstream.allow == (Pattern("team-a/**", 5), Pattern("library/*", 6))
    assert upstream.deny == (Pattern("**/secret-*", 7), Pattern("x", 7))
    assert upstream.users == (Pattern("alice", 8),)


@pytest.mark.parametrize("glob", ["Team/*", "/a", "a//b", "registry.corp.example:5000/a", "a:1", "a**"])
def test_a_pattern_that_matches_nothing_is_refused(faults: Faults, glob: str) -> None:
    (line,) = faults(f"upstreams: {{a.example: {{deny: ['{glob}']}}}}")
    assert "expected a repository name such as team-a/app" in line


@pytest.mark.parametrize("key", ["allow", "users"])
def test_an_empty_list_lets_nobody_pull(faults: Faults, key: str) -> None:
    (line,) = faults(f"access: {{htpasswd: users}}\nupstreams: {{a.example: {{{key}: []}}}}")
    assert "nobody could pull anything" in line


@pytest.mark.parametrize("name", ["password:", "certificate:", ""])
def test_a_user_needs_a_name(faults: Faults, name: str) -> None:
    (line,) = faults(f"access: {{htpasswd: users}}\nupstreams: {{a.example: {{users: ['{name}']}}}}")
    assert "expected a name" in line


def test_a_bound_listener_is_judged_as_the_others_are(read: Load, faults: Faults) -> None:
    (line,) = faults("upstreams: {a.example: {listen: ['haproxy:tcp:7000']}}")
    assert line.startswith("f:1: upstreams.a.example.listen: haproxy: believes whoever connects")
    (warning,) = read(f"listen: {CERTIFIED}\nupstreams: {{a.example: {{listen: 'tcp:7000'}}}}").warnings
    assert "tcp:7000 lets nobody in" in warning


def test_a_listener_that_lets_nobody_in_is_a_warning(read: Load) -> None:
    listen = "listen: ['tcp:5000', 'ssl:443:privateKey=key.pem:clientCA=ca.pem']\n"
    (warning,) = read(listen).warnings
    assert ":1: listen: tcp:5000 lets nobody in" in warning
    for access in ("anonymous: true", "htpasswd: users"):
        assert read(f"{listen}access: {{{access}}}").warnings == ()
