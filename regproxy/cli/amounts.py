"""Amounts as people read them: sizes, rates, spans of time, counts. Pure; a few signs of ASCII each."""

from __future__ import annotations

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SPANS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
MAX_SPAN_S = 36_500 * 86_400.0


def size_text(amount_bytes: float) -> str:
    """``0 B``, ``1023 B``, ``1.5 KiB``, ``345 GiB``: three digits at least, from a KiB on."""
    amount, unit = float(amount_bytes), 0
    while amount >= 1023.5 and unit < len(_SIZES) - 1:
        amount, unit = amount / 1024, unit + 1
    if unit == 0:
        return f"{amount:.0f} B"
    return f"{amount:.{_decimals(amount)}f} {_SIZES[unit]}"


def _decimals(amount: float) -> int:
    return 2 if amount < 9.995 else 1 if amount < 99.95 else 0


def rate_text(bytes_per_s: float) -> str:
    """``4.50 MiB/s``."""
    return f"{size_text(bytes_per_s)}/s"


def span_text(seconds: float) -> str:
    """The two largest units: ``0s``, ``59s``, ``3m 20s``, ``2d 4h``; ``> 100 years`` above that."""
    if not seconds < MAX_SPAN_S:
        return "> 100 years"
    rest = int(max(seconds, 0))
    parts = []
    for length, unit in _SPANS:
        number, rest = divmod(rest, length)
        parts.append((number, unit))
    while len(parts) > 1 and parts[0][0] == 0:
        del parts[0]
    return " ".join(f"{number}{unit}" for number, unit in parts[:2] if number or len(parts) == 1)


def count_text(number: int) -> str:
    """``1,234,567``."""
    return f"{number:,}"


def share_text(part: float, whole: float) -> str:
    """``97 %``; ``-`` of nothing. All but a little is never told as all."""
    if whole <= 0:
        return "-"
    percent = 100 * part / whole
    if percent >= 99.5 and part < whole:
        return "99 %"
    return f"{percent:.0f} %"


def plural(number: int, word: str) -> str:
    """``1 reader``, ``2 readers``, ``3 entries``."""
    if number == 1:
        return f"1 {word}"
    return f"{count_text(number)} {word[:-1]}ies" if word.endswith("y") else f"{count_text(number)} {word}s"
