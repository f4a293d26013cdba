"""Bounded files into nodes that know their line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regproxy.config import ConfigError
from regproxy.config.errors import MAX_PROBLEMS
from regproxy.config.nodes import (
    MAX_FILE_BYTES,
    MAX_NODES,
    Mapping,
    Scalar,
    Sequence,
    parse_nodes,
    read_nodes,
)


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_nodes(text, "f")
    return [str(problem) for problem in caught.value.problems]


def test_each_value_knows_its_line_and_stays_text() -> None:
    root = parse_nodes("a: no\nb:\n  - 0x1F\n  - '~'\nc: ~\n", "f")
    a, b, c = root.entries
    assert (a.key, a.line, a.value) == ("a", 1, Scalar(1, "no"))
    assert isinstance(b.value, Sequence)
    assert [(item.line, item.text, item.null) for item in b.value.items if isinstance(item, Scalar)] == [
        (3, "0x1F", False),
        (4, "~", False),
    ]
    assert isinstance(c.value, Scalar)
    assert c.value.null


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n", "~\n", "---\n...\n"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    assert parse_nodes(text, "f") == Mapping(1, ())


def test_a_value_may_be_written_once_and_used_twice() -> None:
    root = parse_nodes("a: &x [1, 2]\nb: *x\n", "f")
    assert root.entries[0].value == root.entries[1].value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", ["f:3: a: the key is here twice: it is also on line 1"]),
        ("a: 1\n b: 2\n", ["f:2: not YAML: mapping values are not allowed here"]),
        (
            'a: 1\nb: "/\\d+/"\n',
            ["f:2: not YAML: found unknown escape character 'd'; with a backslash, use single quotes"],
        ),
        ("a: [1\n", ["f:2: not YAML: expected ',' or ']', but got '<stream end>'"]),
        ("a: 1\n\tb: 2\n", ["f:2: not YAML: found character '\\t' that cannot start any token"]),
        ("- a\n", ["f:1: expected keys and values, such as 'ttl: 7d'"]),
        ("word\n", ["f:1: expected keys and values, such as 'ttl: 7d'"]),
        ("a: *x\n", ["f:1: an alias (*) to an anchor (&) that is not above it"]),
        ("a: &x [*x]\n", ["f:1: an alias (*) to an anchor (&) that is not above it"]),
        ("a: 1\n---\nb: 2\n", ["f:3: a second document; a settings file is one"]),
        (
            "a: !!python/name:os.system x\n",
            ["f:1: a YAML tag (!...): values are plain text, lists and mappings"],
        ),
        ("a: !x [1]\n", ["f:1: a YAML tag (!...): values are plain text, lists and mappings"]),
        ("[a]: 1\n", ["f:1: a list or mapping as a key; a key is a word"]),
        ('a: "\\0"\n', ["f:1: a control character or a line break in a value"]),
        ('a: "\\uD800"\n', ["f:1: a control character or a line break in a value"]),
        ("a: |\n  b\n  c\n", ["f:1: a control character or a line break in a value"]),
        ('a: 1\nb: "\\UFFFFFFFF"\n', ["f:2: not YAML: a number out of range"]),
        ('a: 1\nb: "\\U00110000"\n', ["f:2: not YAML: a number out of range"]),
        ("a: 1\nb: \x07\n", ["f:2: a character that YAML does not allow"]),
        ("{" * 30, ["f:1: nested deeper than 16 levels"]),
        ("[" * 100_000, ["f:1: nested deeper than 16 levels"]),
        ("- " * 100_000, ["f:1: nested deeper than 16 levels"]),
    ],
)
def test_what_is_refused(text: str, says: list[str]) -> None:
    assert faults(text) == says


def test_a_billion_laughs_are_not_laughed() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert faults("\n".join(lines)) == [
        f"f:5: more than {MAX_NODES} values, counting what aliases stand for",
    ]


def test_a_very_long_list_is_refused_before_it_is_read_whole() -> None:
    assert "more than" in faults("a:\n" + "- x\n" * (MAX_NODES + 1))[0]


def test_endless_faults_end() -> None:
    assert len(faults("a: 1\n" * 5000)) == MAX_PROBLEMS


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: 1\nb: \xff\n", ":2: not UTF-8 text"),
        (b"\x7fELF\x02\x01\x01\0\0\0", ":1: a character that YAML does not allow"),
        (b"\xff\xfea\0:\0", ":1: not UTF-8 text"),
        (b"#" * (MAX_FILE_BYTES + 1), ": cannot read the settings: it is larger than 1048576 bytes"),
    ],
)
def test_bytes_that_are_no_settings(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_nodes(path)
    assert str(caught.value).startswith(f"{path}{says}")


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbfttl: 7d\n")
    assert read_nodes(path).entries[0].key == "ttl"


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_nodes(path)
    return str(caught.value)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    """A FIFO would hang the start, a device would never end."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    assert refused(tmp_path) == f"{tmp_path}: cannot read the settings: it is not a regular file"
    assert "it is not a regular file" in refused(tmp_path / "fifo")
    assert "it is not a regular file" in refused(Path("/dev/zero"))
    assert "No such file" in refused(tmp_path / "none")
    assert "Too many levels" in refused(tmp_path / "loop")
    assert "name too long" in refused(tmp_path / ("a" * 300))
    assert "NUL" in refused(Path("a\0b"))


def test_a_file_with_an_odd_name_is_told_on_one_line(tmp_path: Path) -> None:
    odd = refused(Path(os.fsdecode(b"/none/\xff\n")))
    assert odd == "/none/??: cannot read the settings: No such file or directory"


def test_a_file_whose_reading_fails() -> None:
    """Regular by its mode, and an error at the first byte: nothing is mapped there."""
    assert refused(Path("/proc/self/mem")) == "/proc/self/mem: cannot read the settings: Input/output error"
