"""Lines: words made harmless, cut, painted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regproxy.cli.lines import Part, Tone, cut, fitting, harmless, line, painted, width_of

parts = st.lists(st.builds(Part, st.text("abc ", max_size=10), st.sampled_from(Tone)), min_size=1, max_size=5)


@given(st.text())
def test_whatever_it_was_it_is_printable_ascii_of_the_same_length(text: str) -> None:
    found = harmless(text)
    assert len(found) == len(text)
    assert all(" " <= sign <= "~" for sign in found)


def test_what_a_terminal_would_obey_is_gone() -> None:
    assert harmless("\x1b]0;x\x07\x9b2J\u202e\r\n\x7f\u4e00ok") == "?]0;x??2J?????ok"


@given(parts, st.integers(-3, 60))
def test_a_cut_line_fits_and_begins_the_same(given_parts: list[Part], width: int) -> None:
    found = cut(given_parts, width)
    assert width_of(found) <= max(width, 0)
    whole, text = painted(tuple(given_parts), False), painted(found, False)
    assert text == whole or (text.endswith(".."[: max(width, 0)]) and whole.startswith(text[:-2]))


@given(parts, st.integers(0, 60), st.integers(0, 4))
def test_parts_are_left_out_from_the_end(given_parts: list[Part], width: int, indent: int) -> None:
    text = painted(fitting(width, indent, given_parts), False)
    assert len(text) <= width
    whole = " " * indent + "  ".join(part.text for part in given_parts)
    assert whole.startswith(text) or text.endswith(".."[:width])


def test_parts_are_whole_or_not_there() -> None:
    assert painted(fitting(9, 0, line(Part("abc"), Part("def"), Part("g"))), False) == "abc  def"
    assert painted(fitting(5, 2, [Part("abcdef"), Part("g")]), False) == "  a.."


def test_colours_are_put_around_whole_parts_and_taken_back() -> None:
    shown = line("a", Part("b", Tone.RED), "c")
    assert painted(shown, True) == "a\x1b[31mb\x1b[0mc"
    assert painted(shown, False) == "abc"
