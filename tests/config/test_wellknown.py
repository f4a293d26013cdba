"""The table of public registries."""

from __future__ import annotations

from regproxy.config import builtin_realm
from regproxy.config.wellknown import DEFAULT_NAME, WELL_KNOWN, canonical, find
from regproxy.headers.origins import Origin
from regproxy.oci.repository import is_upstream_name


def test_each_entry_is_sound() -> None:
    names = [name for known in WELL_KNOWN for name in (known.name, *known.aliases)]
    assert len(names) == len(set(names))
    assert all(map(is_upstream_name, names))
    for known in WELL_KNOWN:
        assert str(Origin.of(known.api)) == known.api
        assert Origin.of(known.api).secure
        assert known.realm is None or known.realm.secure
    assert find(DEFAULT_NAME) is not None


def test_only_the_hub_has_library_names() -> None:
    assert [known.name for known in WELL_KNOWN if known.library] == ["docker.io"]


def test_realms_are_of_the_name_alone() -> None:
    assert builtin_realm("docker.io") == Origin("https", "auth.docker.io", 443)
    assert builtin_realm("registry.gitlab.com") == Origin("https", "gitlab.com", 443)
    assert builtin_realm("quay.io") is None
    assert builtin_realm("evil.docker.io") is None


def test_other_names() -> None:
    assert canonical("registry.hub.docker.com") == "docker.io"
    assert canonical("a.example") == "a.example"
