"""Files in distribution's own form: read as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from regproxy.config import ConfigError, defaults, load
from regproxy.config.distribution import go_ttl
from regproxy.config.errors import Unfit
from regproxy.settings import AccessSettings, Credentials, Settings, TokenSettings
from tests.config.conftest import Faults, Load

MIRROR = """\
version: 0.1
log:
  fields: {service: registry}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
proxy:
  remoteurl: https://registry-1.docker.io
  username: u
  password: hunter2
  ttl: 168h
"""
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def six(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' machine has IPv6, whether it has or not."""
    monkeypatch.setattr(defaults, "kernel_has_ipv6", lambda: True)


def test_a_mirror_of_the_hub_is_understood_as_it_stands(read: Load, settings_file: Path) -> None:
    found = read(MIRROR)
    (hub,) = found.upstreams
    assert (hub.name, hub.endpoints) == ("docker.io", ("https://registry-1.docker.io",))
    assert hub.default
    assert hub.public
    assert hub.library
    assert hub.credentials == Credentials("u", "hunter2")
    assert found.ttl_s == hub.ttl_s == 7 * 86_400
    assert found.storage.root == Path("/var/lib/registry/regproxy")
    assert found.listen == (r"tcp6:5000:interface=\:\:",)
    lacking, public = found.warnings
    assert lacking == (
        f"{settings_file}: keys of distribution that have no effect here: "
        "log.fields, storage.cache, storage.delete, http.headers"
    )
    assert public.startswith(f"{settings_file}:14: proxy: ")
    assert "open to all" in public
    assert "hunter2" not in repr(found)


def proxied(read: Load, remote: str) -> tuple[str, tuple[str, ...], bool]:
    (upstream,) = read(f"proxy: {{remoteurl: '{remote}'}}").upstreams
    assert upstream.default
    return upstream.name, upstream.endpoints, upstream.insecure


def test_the_quirks_of_a_well_known_registry_are_known_here_too(read: Load) -> None:
    (upstream,) = read("proxy: {remoteurl: 'https://public.ecr.aws'}").upstreams
    assert not upstream.quirks.blob_heads


def test_remote_urls(read: Load) -> None:
    """P22: docker.io itself answers HTML, so its other names are taken for the API's."""
    hub = ("docker.io", ("https://registry-1.docker.io",), False)
    for name in ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com/"):
        assert proxied(read, f"https://{name}") == hub
    assert proxied(read, "https://quay.io") == ("quay.io", ("https://quay.io",), False)
    assert proxied(read, "http://r.corp:5000") == ("r.corp:5000", ("http://r.corp:5000",), True)
    assert proxied(read, "http://docker.io") == ("docker.io", ("http://docker.io",), True)


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        (":5000", r"tcp6:5000:interface=\:\:"),
        ("0.0.0.0:5001", "tcp:5001:interface=0.0.0.0"),
        ("127.0.0.1:0", "tcp:0:interface=127.0.0.1"),
        ("localhost:5000", "tcp:5000:interface=127.0.0.1"),
        ("'[::1]:5000'", r"tcp6:5000:interface=\:\:1"),
    ],
)
def test_addresses(read: Load, address: str, listen: str) -> None:
    assert read(MIRROR.replace(":5000", address)).listen == (listen,)


def test_without_an_address_the_default_ones(read: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read("proxy: {remoteurl: 'https://quay.io'}").listen == ("tcp6:5000",)
    monkeypatch.setattr(defaults, "kernel_has_ipv6", lambda: False)
    assert read(MIRROR).listen == ("tcp:5000",)


def test_a_unix_socket(read: Load, tmp_path: Path) -> None:
    text = "proxy: {remoteurl: 'https://quay.io'}\nhttp: {net: unix, addr: r.sock}"
    assert read(text).listen == (f"unix:{tmp_path}/r.sock",)


def with_tls(read: Load) -> Settings:
    return read("proxy: {remoteurl: 'https://quay.io'}\nhttp: {addr: ':443', tls: {certificate: c, key: k}}")


def test_tls_is_an_ssl_endpoint_with_the_whole_chain(read: Load, tmp_path: Path) -> None:
    (tmp_path / "k").write_text("key")
    (tmp_path / "c").write_text(PEM)
    plain = rf"ssl:443:interface=\:\::privateKey={tmp_path}/k:certKey={tmp_path}/c"
    assert with_tls(read).listen == (plain,)
    (tmp_path / "c").write_text(PEM * 2)
    assert with_tls(read).listen == (f"{plain}:extraCertChain={tmp_path}/c",)


def test_tls_files_must_be_there(faults: Faults, tmp_path: Path) -> None:
    assert faults("version: 0.1\nproxy: {remoteurl: 'https://quay.io'}\nhttp: {tls: {certificate: c}}") == [
        "f:1: http.tls.key: expected a PEM file: it is missing",
        "f:3: http.tls.certificate: expected a PEM file: No such file or directory",
    ]


def test_the_log_is_read(read: Load) -> None:
    found = read("proxy: {remoteurl: 'https://quay.io'}\nlog: {formatter: json, accesslog: {disabled: true}}")
    assert (found.log.format, found.log.access) == ("json", "off")
    assert found.warnings == ()


def test_clients_that_were_asked_who_they_are_and_are_not_now(read: Load) -> None:
    lacking, open_to_all = read(
        "version: 0.1\nproxy: {remoteurl: 'https://quay.io'}\nauth: {silly: {realm: x}}"
    ).warnings
    assert lacking.endswith("no effect here: auth.silly")
    assert "clients are not asked who they are" in open_to_all


QUAY = "version: 0.1\nproxy: {remoteurl: 'https://quay.io', username: me, password: hunter2}\n"


def test_passwords_are_asked_for_as_before(read: Load, tmp_path: Path) -> None:
    """And what the credentials may pull is then not open to all."""
    (tmp_path / "users").touch()
    found = read(f"{QUAY}auth: {{htpasswd: {{realm: basic, path: users}}}}")
    assert found.access == AccessSettings(htpasswd=tmp_path / "users", anonymous=False)
    assert found.warnings == ()


def test_tokens_are_asked_for_as_before(read: Load, tmp_path: Path) -> None:
    (tmp_path / "bundle.pem").touch()
    (tmp_path / "keys").touch()
    token = "realm: https://auth.example/token, service: mirror, issuer: me, rootcertbundle: bundle.pem"
    found = read(f"{QUAY}auth: {{token: {{{token}}}}}")
    expected = TokenSettings("me", "mirror", tmp_path / "bundle.pem", "https://auth.example/token")
    assert found.access == AccessSettings(tokens=expected, anonymous=False)
    (warning,) = found.warnings
    assert "no chains" in warning
    tokens = read(f"{QUAY}auth: {{token: {{{token}, jwks: keys}}}}").access.tokens
    assert tokens is not None
    assert tokens.keys_file == tmp_path / "keys"


def test_client_certificates_are_asked_for_as_before(read: Load, faults: Faults, tmp_path: Path) -> None:
    for name in ("c", "k", "ca"):
        (tmp_path / name).write_text(PEM)
    text = QUAY + "http: {addr: ':443', tls: {certificate: c, key: k, clientcas: [%s]}}"
    found = read(text % "ca")
    assert found.listen[0].endswith(f":clientCA={tmp_path}/ca")
    assert (found.access.anonymous, found.warnings) == (False, ())
    (line,) = faults(text % "ca, c")
    assert "put all authorities into it" in line
    (line,) = faults(text % "none")
    assert "No such file" in line


@pytest.mark.parametrize("auth", ["htpasswd: {}", "htpasswd: {path: none}", "token: {issuer: me}"])
def test_a_way_in_that_lacks_something_stops_the_start(faults: Faults, auth: str) -> None:
    assert faults(f"{QUAY}auth: {{{auth}}}")


def test_settings_in_the_environment_are_said_not_to_count(settings_file: Path) -> None:
    settings_file.write_text("proxy: {remoteurl: 'https://quay.io'}")
    (warning,) = load(settings_file, {"REGISTRY_PROXY_PASSWORD": "hunter2"}).warnings
    assert "are not read" in warning
    assert "hunter2" not in warning


def test_many_lacking_keys_are_one_warning(read: Load) -> None:
    keys = "\n".join(f"k{number}: 1" for number in range(100))
    (warning,) = read(f"version: 0.1\nproxy: {{remoteurl: 'https://quay.io'}}\n{keys}").warnings
    assert warning.endswith("k19 and 80 more")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 0.1", ["f:1: proxy: remoteurl is missing: this file is not one of a mirror"]),
        (
            "proxy: {remoteurl: docker.io}",
            [
                "f:1: proxy.remoteurl: expected https://HOST or https://HOST:PORT, "
                "without path, user or password"
            ],
        ),
        (
            "proxy: {remoteurl: 'https://[::1]'}",
            ["f:1: proxy.remoteurl: expected a host name; an IPv6 address cannot name an upstream"],
        ),
        ("proxy: {remoteurl: [x]}", ["f:1: proxy.remoteurl: expected a single value"]),
        (
            "version: 0.1\nproxy: yes",
            [
                "f:2: proxy: expected keys and values",
                "f:2: proxy: remoteurl is missing: this file is not one of a mirror",
            ],
        ),
        (
            "proxy: {remoteurl: 'https://a.b', username: u}",
            ["f:1: proxy.username: a username without a password"],
        ),
        (
            "proxy: {remoteurl: 'https://a.b', password: u}",
            ["f:1: proxy.password: a password without a username"],
        ),
        (
            "proxy: {remoteurl: 'https://a.b', ttl: 604800}",
            [
                "f:1: proxy.ttl: a number alone has no meaning here: "
                "expected a duration with units such as 168h or 1h30m, or 0 for never"
            ],
        ),
        (
            "http: {addr: 5000}\nproxy: {remoteurl: 'https://a.b'}",
            ["f:1: http.addr: expected ADDRESS:PORT, such as :5000 or 127.0.0.1:5000"],
        ),
        (
            "http: {addr: 'a.b:5000'}\nproxy: {remoteurl: 'https://a.b'}",
            ["f:1: http.addr: expected an address after interface=, an IPv6 one as \\:\\:1"],
        ),
        (
            "http: {net: unix}\nproxy: {remoteurl: 'https://a.b'}",
            ["f:1: http.addr: expected unix:PATH with a path of at most 107 bytes"],
        ),
        (
            "http: {addr: ':70000'}\nproxy: {remoteurl: 'https://a.b'}",
            ["f:1: http.addr: expected tcp6:PORT with a port from 0 to 65535"],
        ),
    ],
)
def test_what_is_refused(faults: Faults, text: str, says: list[str]) -> None:
    assert faults(text) == says


def test_two_forms_in_one_file(faults: Faults) -> None:
    assert faults("version: 0.1\nproxy: {remoteurl: 'https://a.b'}\nupstreams: {}") == [
        "f:3: upstreams: a key of regproxy's own form in a file of distribution's, "
        "which has a version: use one form"
    ]
    assert faults("proxy: {remoteurl: 'https://a.b'}\nttl: 7d") == [
        "f:1: proxy: not supported in this version; remove it"
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("168h", 604_800),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("24h0m0s", 86_400),
        ("0", None),
        ("0s", None),
        ("0h0m", None),
    ],
)
def test_durations_as_go_writes_them(text: str, seconds: float | None) -> None:
    assert go_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "7d", "-1h", "604800000000000", "1h 30m", "h", "99999999999h"])
def test_what_go_would_not_read_or_not_as_meant(text: str) -> None:
    with pytest.raises(Unfit):
        go_ttl(text)


def test_a_password_is_in_no_message(read: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        read("proxy: {remoteurl: 'https://u:hunter2@a.b', username: 'hunter2:', password: [hunter2]}")
    assert len(caught.value.problems) == 3
    assert "hunter2" not in "".join(map(str, caught.value.problems))
