"""Upstreams: names, endpoints, the default one, credentials and what they need."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from regproxy.config import ConfigError
from regproxy.headers.origins import Origin
from regproxy.settings import ClientCertificate, Credentials, Settings, TagRule, UpstreamSettings
from regproxy.testing.certificates import self_signed
from tests.config.conftest import Faults, Load

NAME = "an upstream is named by a lower-case host name, with a port if it has one (not 443)"
NONE = "names no registry; leave the key out for the well-known public ones"
URL = "expected https://HOST or https://HOST:PORT, without path, user or password"
PLAIN = "http:// is readable by everyone on the way: write https://, or insecure: true"
NEVER = "a link-local, metadata or reserved address, which is never asked"
SHARED = "all whom access lets in could pull what these may: if that is meant, write public: true under the "
NO_PEM = "expected a PEM file with certificates"
NO_PREFIX = "corp is no host name, so it can only be a prefix: write prefix: true"
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def one(found: Settings) -> UpstreamSettings:
    (upstream,) = found.upstreams
    return upstream


def test_a_host_name_needs_nothing(read: Load) -> None:
    assert one(read("upstreams: {a.example: {}}")) == UpstreamSettings(
        "a.example", ("https://a.example",), default=True
    )
    assert one(read("upstreams:\n  a.example:5443:\n")).endpoints == ("https://a.example:5443",)
    assert one(read("upstreams: {localhost: {}}")).endpoints == ("https://localhost",)


def test_a_well_known_name_brings_its_own_values(read: Load) -> None:
    hub = one(read("upstreams: {docker.io: {}}"))
    assert hub.endpoints == ("https://registry-1.docker.io",)
    assert hub.library
    assert "index.docker.io" in hub.aliases
    mirrored = one(read("upstreams: {docker.io: {endpoints: https://m.example}}"))
    assert (mirrored.endpoints, mirrored.library) == (("https://m.example",), True)


def test_all_that_can_be_written(read: Load, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    (tmp_path / "word").write_text("secret\n")
    found = read(
        """
upstreams:
  corp:
    endpoints: [https://A.example/, "http://b.example:5000"]
    default: true
    prefix: true
    public: true
    insecure: true
    credentials: {username: u, password_file: word}
    private: true
    ca: ca.pem
    token_realms: [https://auth.example]
    tags: [{fresh: 5m}]
    ttl: 30d
"""
    )
    assert one(found) == UpstreamSettings(
        "corp",
        ("https://a.example", "http://b.example:5000"),
        default=True,
        prefix=True,
        public=True,
        insecure=True,
        credentials=Credentials("u", None, tmp_path / "word"),
        private=True,
        ca=tmp_path / "ca.pem",
        token_realms=(Origin("https", "auth.example", 443),),
        tags=(TagRule(fresh_s=300.0, line=13),),
        ttl_s=30 * 86_400.0,
    )
    assert found.warnings == ()


def defaults(found: Settings) -> list[str]:
    return [upstream.name for upstream in found.upstreams if upstream.default]


def test_which_one_is_the_default(read: Load) -> None:
    assert defaults(read("upstreams: {a.example: {}, b.example: {default: true}}")) == ["b.example"]
    assert defaults(read("upstreams: {a.example: {}, docker.io: {}}")) == ["docker.io"]
    assert defaults(read("upstreams: {docker.io: {}, b.example: {default: true}}")) == ["b.example"]
    assert defaults(read("upstreams: {a.example: {}}")) == ["a.example"]
    assert defaults(read("upstreams: {a.example: {}, b.example: {}}")) == []


def test_the_ttl_of_all_is_the_ttl_of_each(read: Load) -> None:
    found = read("ttl: 1d\nupstreams: {a.example: {}, b.example: {ttl: never}}")
    assert [upstream.ttl_s for upstream in found.upstreams] == [86_400.0, None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("upstreams:", [f"f:1: upstreams: {NONE}"]),
        ("upstreams: {}", [f"f:1: upstreams: {NONE}"]),
        (
            "upstreams: [ghcr.io]",
            ["f:1: upstreams: expected names and their settings, such as 'ghcr.io: {}'"],
        ),
        ("upstreams: {Ghcr.io: {}}", [f"f:1: upstreams: {NAME}"]),
        ("upstreams: {a.example:0443: {}}", [f"f:1: upstreams: {NAME}"]),
        ("upstreams: {a.example:443: {}}", [f"f:1: upstreams: {NAME}"]),
        ("upstreams: {a.example:70000: {}}", [f"f:1: upstreams: {NAME}"]),
        ("upstreams: {../x: {}}", [f"f:1: upstreams: {NAME}"]),
        (
            "upstreams:\n  index.docker.io: {}",
            ["f:2: upstreams.index.docker.io: another name of docker.io; write docker.io"],
        ),
        (
            "upstreams:\n  corp: {}",
            [
                "f:2: upstreams.corp.endpoints: corp is no host name, so it needs endpoints: [https://HOST]",
                f"f:2: upstreams.corp.prefix: {NO_PREFIX}",
            ],
        ),
        (
            "upstreams: {corp: {prefix: false, endpoints: https://a}}",
            [f"f:1: upstreams.corp.prefix: {NO_PREFIX}"],
        ),
        (
            "upstreams: {a.example: {endpoints: []}}",
            ["f:1: upstreams.a.example.endpoints: an empty list; give a base URL or remove the key"],
        ),
        ("upstreams: {a.example: {endpoints: a.example}}", [f"f:1: upstreams.a.example.endpoints: {URL}"]),
        (
            "upstreams: {a.example: {endpoints: [http://a.example]}}",
            [f"f:1: upstreams.a.example.endpoints: {PLAIN}"],
        ),
        *[
            (
                f"upstreams: {{a.example: {{{key}: ['https://{host}']}}}}",
                [f"f:1: upstreams.a.example.{key}: {NEVER}"],
            )
            for key, host in [
                ("endpoints", "169.254.169.254"),
                ("endpoints", "[fe80::1]"),
                ("endpoints", "[::ffff:a9fe:a9fe]"),
                ("endpoints", "0xa9fea9fe"),
                ("token_realms", "0.0.0.0"),
                ("token_realms", "100.100.100.200"),
            ]
        ],
        (
            "upstreams: {a.example: {token_realms: [http://a.example]}}",
            [f"f:1: upstreams.a.example.token_realms: {PLAIN}"],
        ),
        (
            "upstreams:\n  a.example: {default: true}\n  b.example:\n    default: true",
            ["f:4: upstreams.b.example.default: only one upstream is the default, and a.example is (line 2)"],
        ),
        (
            "upstreams: {a.example: {default: yes}}",
            ["f:1: upstreams.a.example.default: expected true or false"],
        ),
        (
            "upstreams: {a.example: {endpoint: x}}",
            ["f:1: upstreams.a.example.endpoint: no such key; did you mean endpoints?"],
        ),
        (
            "upstreams: {a.example: {ca: none.pem}}",
            [f"f:1: upstreams.a.example.ca: {NO_PEM}: No such file or directory"],
        ),
        (
            "upstreams: {a.example: {ca: .}}",
            [f"f:1: upstreams.a.example.ca: {NO_PEM}: it is not a regular file"],
        ),
        (
            "upstreams: {a.example: {ca: regproxy.yml}}",
            [f"f:1: upstreams.a.example.ca: {NO_PEM}: no PEM certificate in it"],
        ),
        (
            "upstreams: {a.example: {public: true, credentials: }}",
            [
                "f:1: upstreams.a.example.credentials: a password is missing; add password_file: FILE",
                "f:1: upstreams.a.example.credentials: username is missing",
            ],
        ),
        (
            "upstreams: {a.example: {public: true, credentials: {username: 'a:b', password: x}}}",
            ["f:1: upstreams.a.example.credentials.username: expected a user name, without a colon"],
        ),
        (
            "upstreams:\n  a.example:\n    credentials:\n      username: u\n      password: x",
            [
                "f:3: upstreams.a.example.credentials: all whom access lets in could pull what these may: "
                "if that is meant, write public: true under the upstream of line 2; else ask clients who "
                "they are in a section access: htpasswd or tokens, or clientCA on an ssl: listener",
            ],
        ),
    ],
)
def test_what_is_refused(faults: Faults, text: str, says: list[str]) -> None:
    assert faults(text) == says


CLIENT = "upstreams:\n  a.example:\n    public: true\n    client_cert:\n"


@pytest.fixture
def pair(tmp_path: Path) -> ClientCertificate:
    """A certificate beside the settings file, its key, and another's key."""
    self_signed().write(tmp_path, "other")
    return ClientCertificate(*self_signed().write(tmp_path, "us"))


def test_a_client_certificate(read: Load, pair: ClientCertificate) -> None:
    assert one(read(f"{CLIENT}      cert: us.pem\n      key: us.key")).client_cert == pair


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("      cert: us.pem", ["f:4: upstreams.a.example.client_cert: key is missing"]),
        (
            "      cert: us.pem\n      key: none.key",
            ["f:6: upstreams.a.example.client_cert.key: cannot be read: No such file or directory"],
        ),
        (
            "      cert: us.key\n      key: us.key",
            ["f:5: upstreams.a.example.client_cert.cert: no PEM certificate in it"],
        ),
        (
            "      cert: us.pem\n      key: us.pem",
            ["f:6: upstreams.a.example.client_cert.key: no PEM key in it"],
        ),
        (
            "      cert: us.pem\n      key: locked.key",
            ["f:6: upstreams.a.example.client_cert.key: it has a passphrase: nobody is there to type it"],
        ),
        (
            "      cert: us.pem\n      key: other.key",
            ["f:6: upstreams.a.example.client_cert.key: it is not the key of the certificate us.pem"],
        ),
    ],
)
def test_client_certificates_that_are_refused(
    faults: Faults, pair: ClientCertificate, tmp_path: Path, lines: str, says: list[str]
) -> None:
    locked = load_pem_private_key(pair.key.read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")
    )
    (tmp_path / "locked.key").write_bytes(locked)
    assert faults(CLIENT + lines) == says


def test_a_client_certificate_is_a_credential(faults: Faults, pair: ClientCertificate) -> None:
    """Who may ask us could pull what it may."""
    text = "upstreams:\n  a.example:\n    client_cert: {cert: us.pem, key: us.key}"
    [told] = faults(text)
    assert told.startswith(
        f"f:3: upstreams.a.example.client_cert: {SHARED}upstream of line 2; else ask clients"
    )


def test_two_passwords_are_one_too_many(faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "word").touch()
    text = "upstreams:\n  a.example:\n    public: true\n    credentials:\n      username: u\n"
    assert faults(text + "      password: x\n      password_file: word\n") == [
        "f:7: upstreams.a.example.credentials.password_file: there is a password too (line 6); "
        "keep one of them"
    ]


def test_a_password_file_that_is_not_there_yet_is_a_warning(read: Load, settings_file: Path) -> None:
    text = "upstreams: {a.example: {public: true, credentials: {username: u, password_file: none}}}"
    assert read(text).warnings == (
        f"{settings_file}:1: upstreams.a.example.credentials.password_file: cannot be read now: "
        "No such file or directory",
    )


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("{insecure: true}", "has no effect without endpoints: [http://a.example]"),
        (
            "{insecure: true, endpoints: https://b}",
            "it has no http:// endpoint, so this only allows redirects to http://; certificates are "
            "verified all the same, 'ca' names an authority of your own",
        ),
    ],
)
def test_insecure_without_http_is_a_warning(read: Load, entry: str, says: str) -> None:
    (warning,) = read(f"upstreams: {{a.example: {entry}}}").warnings
    assert warning.endswith(f":1: upstreams.a.example.insecure: {says}")


def test_a_password_is_in_no_message_and_no_repr(read: Load) -> None:
    credentials = "credentials: {username: u, password: hunter2, passwort: hunter2}"
    with pytest.raises(ConfigError) as caught:
        read(f"upstreams: {{a.example: {{endpoints: [https://u:hunter2@b], {credentials}}}}}")
    assert len(caught.value.problems) == 3
    assert "hunter2" not in repr(caught.value) + " ".join(map(str, caught.value.problems))
    good = read("upstreams: {a.example: {public: true, credentials: {username: u, password: hunter2}}}")
    assert one(good).credentials == Credentials("u", "hunter2")
    assert "hunter2" not in repr(good)


def test_a_password_of_digits_stays_what_it_is(read: Load) -> None:
    found = read("upstreams: {a.example: {public: true, credentials: {username: 1e3, password: 007}}}")
    assert one(found).credentials == Credentials("1e3", "007")


def test_the_same_endpoint_twice_is_one(read: Load) -> None:
    """A second try at the one that just failed would only cost the client's time."""
    found = read("upstreams: {a.example: {endpoints: [https://a.example, https://A.example:443/]}}")
    assert one(found).endpoints == ("https://a.example",)
