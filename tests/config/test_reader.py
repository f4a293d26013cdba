"""The whole file: defaults, every kind of fault, and nothing but settings or a ConfigError."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regproxy.config import ConfigError, Problem, load
from regproxy.config.errors import MAX_PROBLEMS
from regproxy.config.table import GROUPS, LATER, TABLE
from regproxy.settings import AccessSettings, LimitSettings, LogSettings, Settings, TagRule
from tests.config.conftest import Faults, Load


def test_an_empty_file_is_the_built_in_settings(read: Load, settings_file: Path) -> None:
    built_in = load(None, {})
    assert read("") == Settings(
        listen=built_in.listen,
        admin=built_in.admin,
        storage=built_in.storage,
        upstreams=built_in.upstreams,
        source=settings_file,
    )
    assert [upstream.name for upstream in built_in.upstreams if upstream.default] == ["docker.io"]
    assert len(built_in.upstreams) == 9
    assert built_in.source is None


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.yml", {})
    assert str(caught.value) == f"{tmp_path}/none.yml: cannot read the settings: No such file or directory"
    assert len(caught.value.problems) == 1


def test_all_that_can_be_written_at_the_top(read: Load, tmp_path: Path) -> None:
    found = read(
        """
listen: [tcp:5000, "unix:web.sock"]
admin: ["unix:admin.sock", tcp:5001:interface=127.0.0.1]
storage: {root: data, max_size: 200 GiB, min_free: 0 B}
ttl: never
tags: [{fresh: 5m, revalidate_wait: 0s, stale_if_error: 1d}]
access: {networks: [10.0.0.0/8, "::1"]}
log: {format: json, access: log/access.log}
limits: {connections: 5, per_address: 3, header: 1m, idle: 10s, slow_reader: 2 kB/s, request_line: 2 KiB}
"""
    )
    assert found.listen == ("tcp:5000", f"unix:{tmp_path}/web.sock")
    assert found.admin == (f"unix:{tmp_path}/admin.sock:mode=660", "tcp:5001:interface=127.0.0.1")
    assert found.admin_written
    assert found.storage.root == tmp_path / "data"
    assert (found.storage.max_size_bytes, found.storage.min_free_bytes) == (200 * 2**30, 0)
    assert found.ttl_s is None
    assert {upstream.ttl_s for upstream in found.upstreams} == {None}
    assert found.tags == (TagRule("*", 300, 0, 86_400),)
    assert found.access == AccessSettings((ip_network("10.0.0.0/8"), ip_network("::1/128")))
    assert found.log == LogSettings("json", f"{tmp_path}/log/access.log")
    assert found.limits == LimitSettings(5, 3, 60, 10, 2000, 2048, 16_384)


def test_one_value_may_stand_where_a_list_can(read: Load) -> None:
    found = read("listen: tcp:5000\nadmin: []\nlog: {access: off}\n")
    assert found.listen == ("tcp:5000",)
    assert (found.admin, found.admin_written) == ((), True)
    assert found.log.access == "off"


def test_empty_sections_are_defaults(read: Load) -> None:
    assert read("storage:\ntags:\nlog: {}\naccess:\n") == read("")


def test_paths_are_relative_to_the_file_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/r.yml").write_text("storage: {root: ../data}\n")
    monkeypatch.chdir(tmp_path)
    found = load(Path("etc/r.yml"), {})
    assert found.storage.root == tmp_path / "etc/../data"
    assert found.source == tmp_path / "etc/r.yml"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("storag: {}", ["f:1: storag: no such key; did you mean storage?"]),
        ("storage: {rooot: /x}", ["f:1: storage.rooot: no such key; did you mean root?"]),
        ("max_size: 1 GiB", ["f:1: max_size: no such key here; it belongs to storage.max_size"]),
        (
            "log: {zzz: 1}",
            ["f:1: log.zzz: no such key; the keys here are format, access"],
        ),
        ("storage: {<<: 1}", ["f:1: storage.<<: merge keys are not supported; write the values out"]),
        (
            "storage: 7",
            ["f:1: storage: expected keys and values; the keys are root, max_size, min_free, low_water"],
        ),
        (
            "\nstorage: []",
            ["f:2: storage: expected keys and values; the keys are root, max_size, min_free, low_water"],
        ),
        ("ttl: ", ["f:1: ttl: no value; give one or remove the key"]),
        ("ttl: [7d]", ["f:1: ttl: expected a single value"]),
        ("ttl: {a: b}", ["f:1: ttl: expected a single value"]),
        ("listen: {a: b}", ["f:1: listen: expected a list of single values"]),
        ("listen:\n- tcp:1\n- [x]", ["f:3: listen: expected a single value"]),
        ("listen: []", ["f:1: listen: an empty list: nobody could ask; write [tcp6:5000]"]),
        ("listen: [tcp:1, tcp:1]", ["f:1: listen: the same endpoint twice"]),
        ("access: {networks: []}", ["f:1: access.networks: an empty list: nobody could ask"]),
        ("tags: {match: '*'}", ["f:1: tags: expected a list: each rule begins with '- '"]),
        (
            "tags: ['*']",
            [
                "f:1: tags[0]: expected keys and values; "
                "the keys are match, fresh, revalidate_wait, stale_if_error"
            ],
        ),
        (
            "tags: [{match: 'v*'}]",
            ['f:1: tags[0].match: expected "*": this version has one rule for all tags'],
        ),
        ("tags:\n- {}\n- {}", ["f:3: tags: a second rule: this version has one rule for all tags"]),
        ("log: {format: xml}", ["f:1: log.format: expected text or json"]),
        (
            "storage: {root: ~/x}",
            ["f:1: storage.root: expected a path; ~ has no meaning here, write the folder out"],
        ),
        (
            "storage: {root: ''}",
            [
                "f:1: storage.root: expected some text; "
                "quote it if it begins with a sign that YAML reads as its own"
            ],
        ),
        ("limits: {idle: 0s}", ["f:1: limits.idle: expected more than 0 and at most 7d"]),
        (
            "limits: {connections: 0, per_address: no}",
            [
                "f:1: limits.connections: expected a whole number from 1 to 999999999",
                "f:1: limits.per_address: expected a whole number from 1 to 999999999, or 'off'",
            ],
        ),
        (
            "limits: {request_line: 32 KiB}",
            ["f:1: limits.header_size: expected at least limits.request_line, which is part of it"],
        ),
        ("fill: {ahead: 65}", ["f:1: fill.ahead: expected a whole number from 0 to 64"]),
        (
            "fill: {connections_per_blob: -1}",
            ["f:1: fill.connections_per_blob: expected a whole number from 1 to 16"],
        ),
    ],
)
def test_every_fault_says_where_it_is_and_what_would_be_right(
    faults: Faults, text: str, says: list[str]
) -> None:
    assert faults(text) == says


def test_all_faults_are_told_in_the_order_of_the_file(faults: Faults) -> None:
    told = faults("ttl: 7\nlisten: [5000]\nlog:\n  format: xml\nstorage:\n  max_size: 5\n")
    assert [line.split(": ")[0:2] for line in told] == [
        ["f:1", "ttl"],
        ["f:2", "listen"],
        ["f:4", "log.format"],
        ["f:6", "storage.max_size"],
    ]


def test_a_fault_is_told_once_however_often_its_setting_is_asked_for(faults: Faults) -> None:
    keys = "insecure: 1, public: 1, prefix: 1, endpoints: https://b, token_realms: https://c"
    credentials = "credentials: {username: u, password: p}"
    told = faults(f"upstreams: {{a.example: {{{keys}, {credentials}}}}}")
    assert [line.split(": ")[1].split(".")[-1] for line in told] == [
        "credentials",
        "insecure",
        "prefix",
        "public",
    ]


def test_there_is_an_end_to_faults(faults: Faults) -> None:
    assert len(faults("\n".join(f"x{number}: 1" for number in range(5000)))) == MAX_PROBLEMS


def test_the_error_itself_is_one_line() -> None:
    error = ConfigError([Problem("f", 3, "b", "wrong"), Problem("f", 1, "a", "wrong")])
    assert str(error) == "f:1: a: wrong (and 1 more)"
    assert str(ConfigError([Problem("f", 0, "", "wrong")])) == "f: wrong"


@pytest.mark.parametrize(("section", "key"), [(s, key) for s, keys in LATER.items() for key in keys])
def test_what_comes_later_is_not_taken_in_silence(faults: Faults, section: str, key: str) -> None:
    frame = {
        "": "{}",
        "storage": "storage: {{{}}}",
        "fill": "fill: {{{}}}",
        "tag": "tags: [{{{}}}]",
        "access": "access: {{{}}}",
        "upstream": "upstreams: {{a.example: {{{}}}}}",
        "credentials": "upstreams: {{a.example: {{public: true, "
        "credentials: {{username: u, password: p, {}}}}}}}",
    }[section]
    (told,) = faults(frame.format(f"{key}: x"))
    assert told.endswith(f"{key}: not supported in this version; remove it")


SCALARS = st.sampled_from(
    ["7d", "never", "true", "false", "*", "-", "", "~", "5 GiB", "tcp:5000", "10.0.0.0/8", "https://a.example",
     "docker.io", "ü", '"\\0"', "0", "[", "&a x", "*a", "!!int 3", "<<"]
) | st.text(max_size=8)  # fmt: skip
KEYS = st.sampled_from(
    [setting.key for setting in TABLE]
    + [group.key for group in GROUPS]
    + [
        *LATER[""],
        "docker.io",
        "a.example",
        "version",
        "proxy",
        "remoteurl",
        "http",
        "addr",
        "tls",
        "filesystem",
    ]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.dictionaries(KEYS | SCALARS, inner, max_size=6) | st.lists(inner, max_size=3),
    max_leaves=20,
)


def as_yaml(tree: object) -> str:
    """YAML in flow form, scalars as they are: some of it is no YAML at all."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(as_yaml, tree)) + "]"
    return str(tree)


def settings_or_faults(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        found = load(path, {})
    except ConfigError as error:
        lines = [str(problem) for problem in error.problems]
    else:
        lines = ["good"]
        assert found.listen
        assert sum(upstream.default for upstream in found.upstreams) <= 1
    assert lines
    assert "".join(lines).isprintable()


@given(tree=TREES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_yaml_is_settings_or_a_list_of_faults(settings_file: Path, tree: object) -> None:
    settings_or_faults(settings_file, as_yaml(tree).encode("utf-8", "surrogatepass"))


@given(
    content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_settings_or_a_list_of_faults(settings_file: Path, content: bytes) -> None:
    settings_or_faults(settings_file, content)


def test_the_operators_token_and_the_names_of_the_listener(read: Load, tmp_path: Path) -> None:
    found = read("admin_token_file: secrets/admin.token\nadmin_hosts: [Mirror.corp.example, 10.0.0.1]\n")
    assert found.admin_token_file == tmp_path / "secrets/admin.token"
    assert found.admin_hosts == ("mirror.corp.example", "10.0.0.1")
    assert found.warnings == ()
    assert read("").admin_token_file is None


def test_names_without_a_token_have_no_effect(read: Load) -> None:
    (warning,) = read("admin_hosts: [mirror]\n").warnings
    assert "no effect without admin_token_file" in warning


@pytest.mark.parametrize("name", ["mirror:5001", "http://mirror", "a b", "-x", '""', "mirror/", "*", "a@b"])
def test_a_name_of_the_listener_is_one(faults: Faults, name: str) -> None:
    (fault,) = faults(f"admin_token_file: x\nadmin_hosts: [{name!r}]\n")
    assert "expected the name of a host" in fault


def test_an_admin_socket_that_all_may_open_is_a_warning(read: Load) -> None:
    (warning,) = read('admin: ["unix:a.sock:mode=666", tcp:5001]\n').warnings
    assert "takes no operations" in warning
    assert read('admin: ["unix:a.sock:mode=660", "unix:b.sock", tcp:5001]\n').warnings == ()


def test_pins_and_low_water(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(
        "storage: {low_water: 75 %}\npins: ['docker.io/library/nginx:1.*', 'docker.io/library/nginx:1.*', "
        "'no.such/thing']\nupstreams: {docker.io: {}}\n"
    )
    found = load(path, {})
    assert found.storage.low_water == 0.75
    assert [str(pin) for pin in found.pins] == ["docker.io/library/nginx:1.*", "no.such/thing"]
    assert [line for line in found.warnings if "pins" in line] == [
        f"{path}:2: pins: of an upstream that is none of this mirror's"
    ]


@pytest.mark.parametrize("text", ["0 %", "100 %", "9 %", "90", "0.9", "-5 %", "90 % of it"])
def test_what_is_no_low_water(faults: Faults, text: str) -> None:
    [fault] = faults(f"storage: {{low_water: '{text}'}}")
    assert "10 % to 99 %" in fault


@pytest.mark.parametrize("text", ["nginx", "docker.io/Nginx", "docker.io/a:b@sha256:12", "docker.io/a:"])
def test_what_is_no_pin(faults: Faults, text: str) -> None:
    [fault] = faults(f"pins: ['{text}']")
    assert "docker.io/library/nginx:1.*" in fault
