"""The reference file and the records, held against the declarations."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from regproxy.config import load
from regproxy.config import table as t
from regproxy.config.declared import clients, content, registries
from regproxy.config.reference import reference, table
from regproxy.config.setting import Setting
from regproxy.settings import (
    AccessSettings,
    FillSettings,
    LimitSettings,
    LogSettings,
    ScrubSettings,
    Settings,
    StorageSettings,
    SurveySettings,
    TagRule,
    UpstreamSettings,
)
from regproxy.testing.certificates import self_signed
from tests.config.conftest import Load

FILE = Path(__file__).resolve().parents[2] / "etc/regproxy.yml"


def test_the_file_is_what_the_declarations_give() -> None:
    """To renew it: python -m regproxy.config.reference > etc/regproxy.yml"""
    assert FILE.read_text("utf-8") == reference()


def test_the_file_as_it_stands_is_the_defaults() -> None:
    assert attrs.evolve(load(FILE, {}), source=None) == load(None, {})


def uncommented(text: str) -> str:
    """With every setting that is left out put in; a sentence has a blank and a word after its '#'."""
    return re.sub(r"^#(?! \S)", "", text, flags=re.MULTILINE)


def test_every_setting_in_it_is_a_good_one(read: Load, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    self_signed().write(tmp_path, "corp")
    text = uncommented(reference()).replace("/etc/ssl/corp.pem", "ca.pem")
    text = text.replace("/etc/regproxy/corp.crt", "corp.pem").replace("/etc/regproxy/corp.key", "corp.key")
    for name in ("htpasswd", "token-keys.json"):
        (tmp_path / name).touch()
        text = text.replace(f"/etc/regproxy/{name}", name)
    found = read(text)
    assert [upstream.name for upstream in found.upstreams] == [
        "docker.io",
        "ghcr.io",
        "registry.corp.example",
    ]
    assert all(
        "password_file" in warning or "yet" in warning or "this version" in warning
        for warning in found.warnings
    )


@pytest.mark.parametrize("place", t.places())
def test_every_key_is_in_it(place: str) -> None:
    *_, key = place.split(".")
    lines = re.findall(rf"^[# -]*{key}:", reference(), flags=re.MULTILINE)
    expected = [setting for setting in (*t.TABLE, *t.GROUPS) if setting.key == key]
    assert len(lines) >= len(expected)


def test_no_key_is_in_it_that_is_not_declared() -> None:
    keys = set(re.findall(r"^[ -]*([a-z_]+):(?: |$)", uncommented(reference()), flags=re.MULTILINE))
    assert keys <= {place.split(".")[-1] for place in t.places()}


def test_every_setting_has_a_sentence_and_a_default_or_an_example() -> None:
    for setting in t.TABLE:
        assert setting.doc
        assert setting.default is not None or setting.example, setting.place
        assert setting.default is None or not setting.computed, setting.place


def test_the_table_for_the_documentation_has_a_row_for_each() -> None:
    rows = table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [setting.place for setting in t.TABLE]
    assert all(row.count(" | ") == 2 for row in rows)


def usual(setting: Setting[object]) -> object:
    return setting.usual


def test_the_records_have_the_same_defaults() -> None:
    """Declared twice, since records are made by hand in tests too: so held against each other."""
    fields = {
        record: {field.name: field.default for field in attrs.fields(record)}
        for record in (Settings, TagRule, LogSettings, UpstreamSettings, StorageSettings, AccessSettings)
    }
    assert fields[Settings]["ttl_s"] == usual(content.TTL)
    assert TagRule() == TagRule(
        content.MATCH.usual,
        content.FRESH.usual,
        content.REVALIDATE_WAIT.usual,
        content.STALE_IF_ERROR.usual,
        content.GRACE.usual,
        content.ON_MISSING.usual == "keep",
        content.ON_DENIED.usual == "stale",
    )
    assert LimitSettings() == LimitSettings(
        clients.CONNECTIONS.usual,
        clients.PER_ADDRESS.usual,
        clients.HEADER.usual,
        clients.IDLE.usual,
        clients.SLOW_READER.usual,
        clients.REQUEST_LINE.usual,
        clients.HEADER_SIZE.usual,
    )
    assert LogSettings() == LogSettings(clients.LOG_FORMAT.usual, clients.LOG_ACCESS.usual)
    assert FillSettings() == FillSettings(
        content.CONNECTIONS_PER_BLOB.usual,
        content.CONNECTIONS_PER_UPSTREAM.usual,
        content.AHEAD.usual,
        content.RANGES_ABOVE.usual,
        content.ABANDON.usual,
    )
    assert SurveySettings() == SurveySettings(content.SURVEY_EVERY.usual, content.SURVEY_FILES.usual)
    assert ScrubSettings() == ScrubSettings(content.SCRUB_EVERY.usual)
    assert fields[AccessSettings]["catalog"] == usual(clients.CATALOG)
    for setting in (
        registries.DEFAULT,
        registries.PREFIX,
        registries.PUBLIC,
        registries.INSECURE,
        registries.PRIVATE,
    ):
        assert fields[UpstreamSettings][setting.key] == usual(setting)


def test_what_comes_later_is_not_there_yet() -> None:
    for section, keys in t.LATER.items():
        assert not set(keys) & set(t.keys_of(section))
