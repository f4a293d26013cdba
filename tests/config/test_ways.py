"""Hosts and listeners of one upstream, and names that hide repositories of the default one."""

from __future__ import annotations

from pathlib import Path

import pytest

from regproxy.settings import Quirks, UpstreamSettings
from tests.config.conftest import Faults, Load

HOST = "expected a host name such as hub.mirror.example, with a port or without"
CORP = "corp: {prefix: true, endpoints: https://c.example"


def upstream(load: Load, text: str, name: str = "docker.io") -> UpstreamSettings:
    return next(each for each in load(text).upstreams if each.name == name)


def test_they_are_read(read: Load, tmp_path: Path) -> None:
    found = upstream(
        read,
        "upstreams: {docker.io: {hosts: [Hub.Mirror.example, 'hub2:8080', '[fd00::5]', 10.0.0.5, hub2:8080],"
        " listen: ['tcp6:5002', 'unix:hub.sock']}}",
    )
    assert found.hosts == ("hub.mirror.example", "hub2:8080", "[fd00::5]", "10.0.0.5")
    assert found.listen == ("tcp6:5002", f"unix:{tmp_path}/hub.sock")


def test_there_are_none_unless_they_are_written(read: Load) -> None:
    found = upstream(read, "upstreams: {docker.io: {}}")
    assert (found.hosts, found.listen) == ((), ())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.example: {hosts: ['http://x']}", [f"f:1: upstreams.a.example.hosts: {HOST}"]),
        ("a.example: {hosts: [x/y]}", [f"f:1: upstreams.a.example.hosts: {HOST}"]),
        ("a.example: {hosts: [u@x]}", [f"f:1: upstreams.a.example.hosts: {HOST}"]),
        ("a.example: {hosts: ['x:0']}", [f"f:1: upstreams.a.example.hosts: {HOST}"]),
        ("a.example: {hosts: ['x:70000']}", [f"f:1: upstreams.a.example.hosts: {HOST}"]),
        ("a.example: {hosts: ['*']}", [f"f:1: upstreams.a.example.hosts: {HOST}"]),
        (
            "a.example: {hosts: [m]}, b.example: {hosts: [M]}",
            ["f:1: upstreams.b.example.hosts: a Host means one upstream, and one of these means a.example"],
        ),
        (
            "docker.io: {}, b.example: {hosts: [index.docker.io]}",
            ["f:1: upstreams.b.example.hosts: a Host means one upstream, and one of these means docker.io"],
        ),
        (
            "a.example: {listen: ['tcp6:5002']}, b.example: {listen: ['tcp6:5002']}",
            ["f:1: upstreams.b.example.listen: upstreams.a.example.listen has the same endpoint"],
        ),
        (
            "a.example: {listen: [tcp6:5002, tcp6:5002]}",
            ["f:1: upstreams.a.example.listen: upstreams.a.example.listen has the same endpoint"],
        ),
        (
            "a.example: {listen: ['5002']}",
            [
                "f:1: upstreams.a.example.listen: expected tcp6:PORT, tcp:PORT:interface=ADDRESS, ssl:, "
                "unix:PATH, systemd: or haproxy:"
            ],
        ),
    ],
)
def test_what_is_refused(faults: Faults, text: str, says: list[str]) -> None:
    assert faults(f"upstreams: {{{text}}}") == says


def test_the_listeners_of_all_are_taken(faults: Faults) -> None:
    text = "listen: ['tcp:5000:interface=127.0.0.1']\nupstreams:\n  a.example:\n    listen: {}"
    same = text.format("['tcp:port=5000:interface=127.0.0.1']")
    assert faults(same) == ["f:4: upstreams.a.example.listen: listen has the same endpoint"]
    (fault,) = faults("upstreams: {a.example: {listen: ['tcp6:5000', 'tcp:5000']}}")
    assert fault.endswith("listen has the same endpoint"), "the default one"


def test_an_own_name_may_be_written_as_a_host(read: Load) -> None:
    assert upstream(read, "upstreams: {docker.io: {hosts: [docker.io]}}").hosts == ("docker.io",)


HIDES = (
    "corp/NAME is a repository of corp now: repositories of docker.io that begin with corp/ are had as"
    " docker.io/corp/NAME only"
)


def test_what_a_name_hides_is_a_warning(read: Load, settings_file: Path) -> None:
    """A name that is no host name may begin repositories of the default upstream."""
    found = read(f"upstreams:\n  docker.io: {{}}\n  {CORP}}}")
    assert found.warnings == (f"{settings_file}:3: upstreams.corp.prefix: {HIDES}",)


@pytest.mark.parametrize(
    "text",
    [
        "docker.io: {}, ghcr.io: {}, 'c.example:5000': {}, localhost: {}",
        f"{CORP}, default: true}}",
        f"a.example: {{}}, b.example: {{}}, {CORP}}}",
    ],
    ids=["host names", "itself", "no default"],
)
def test_what_hides_nothing(read: Load, text: str) -> None:
    assert read(f"upstreams: {{{text}}}").warnings == ()


def test_quirks_are_those_of_the_registrys_own_api(read: Load) -> None:
    """Under its name there may be an endpoint that has none of them."""
    assert upstream(read, "upstreams: {public.ecr.aws: {}}", "public.ecr.aws").quirks == Quirks(
        blob_heads=False, ended_token=400
    )
    mirrored = "upstreams: {public.ecr.aws: {endpoints: https://m.example}}"
    assert upstream(read, mirrored, "public.ecr.aws").quirks == Quirks()
    written = "upstreams: {public.ecr.aws: {endpoints: https://public.ecr.aws}}"
    assert not upstream(read, written, "public.ecr.aws").quirks.blob_heads
    built_in = {each.name: each.quirks for each in read("").upstreams}
    assert {name for name, quirks in built_in.items() if quirks != Quirks()} == {"public.ecr.aws", "nvcr.io"}
