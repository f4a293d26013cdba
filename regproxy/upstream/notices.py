"""What an upstream's answers warn of, kept with what they were about (R93).

A registry that says "this image is deprecated" says so to the people who pull it, most of whom are
served from our disk. So a warning is given with every answer about the same tag, digest or list, until
the upstream's next answer about it comes without; a 304 takes nothing back (RFC 7234 4.3.4). It is kept
in memory: a restart forgets it until then. Bounded in number; what is forgotten first is what was
warned of longest ago.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

from regproxy.headers.warnings import read_warnings
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference

MAX_KEPT = 2048
"""Each is 4 KiB at most, and most upstreams warn of nothing."""

_Subject: TypeAlias = tuple[Repository, Reference | None]


class Notices:
    """The warnings of one upstream."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Subject, tuple[str, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def heard(
        self,
        repository: Repository,
        reference: Reference | None,
        headers: Sequence[str],
        *,
        whole: bool = True,
    ) -> None:
        """An answer came with these Warning headers. ``reference`` None: it was the list of tags.

        Not ``whole`` is a 304, which need not repeat what holds.
        """
        warnings = read_warnings(headers) if headers else ()
        subject = repository, reference
        if warnings:
            self._kept[subject] = warnings
            self._kept.move_to_end(subject)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        elif whole and self._kept:
            self._kept.pop(subject, None)

    def of(self, repository: Repository, reference: Reference | None) -> tuple[str, ...]:
        """What is to be said with an answer about it; costs a look at an empty table, mostly."""
        return self._kept.get((repository, reference), ()) if self._kept else ()
