"""tags/list, page by page (R94): upstream's Link is followed as it is, on the same origin, bounded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from heapq import merge
from itertools import groupby, islice

from regproxy.errors import InvalidTarget, UpstreamFailed
from regproxy.headers.locations import resolve
from regproxy.headers.origins import Origin
from regproxy.oci.documents import BadDocument, read_document
from regproxy.oci.repository import Repository
from regproxy.oci.tag import is_tag
from regproxy.upstream.calls import Calls
from regproxy.upstream.notices import Notices
from regproxy.upstream.questions import Questions
from regproxy.upstream.threads import InThread, by_size

MAX_PAGES = 500
MAX_PAGE_BYTES = 4 * 1024 * 1024
MAX_TOTAL_BYTES = 16 * 1024 * 1024
MAX_TAGS = 200_000
MAX_OPENINGS = 50_000
MAX_PARTS = 350_000
"""Arrays and objects on one page; these with quotes and commas. 100,000 tags on one page are within;
the worst page within takes 50 ms to parse, where 1.4 million empty names took 1.4 s."""
MAX_LINK_LENGTH = 16_384
MAX_LINKS = 10

_SLICE = 10_000

_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_NEXT = re.compile(
    r';[ \t]*rel[ \t]*=[ \t]*(?:next|"(?:[^"]*[ \t])?next(?:[ \t][^"]*)?")[ \t]*(?:[;,]|\Z)', re.I
)


class BadPage(Exception):
    """A page or its Link is of no use; the message is a clause for a person."""


def next_page(links: Iterable[str], here: str) -> str | None:
    """The URL of the page after ``here`` by its Link headers, None at the end; BadPage.

    Absolute or relative, parameters untouched; never to another origin.
    """
    for header in islice(links, MAX_LINKS):
        for target, parameters in _LINK.findall(header[:MAX_LINK_LENGTH]):
            if _NEXT.search(parameters):
                return _resolve(target, here)
    return None


def _resolve(target: str, here: str) -> str:
    try:
        url = resolve(here, target.strip())
    except InvalidTarget:
        raise BadPage("the next page has no usable address") from None
    if Origin.of(url) != Origin.of(here):
        raise BadPage("the next page is on another host")
    return url


def read_page(body: bytes) -> list[str]:
    """The tags of one page; ``null`` is none of them. What is no tag is left out. BadPage."""
    try:
        document = read_document(body, MAX_OPENINGS, MAX_PARTS)
    except BadDocument as bad:
        raise BadPage(str(bad)) from None
    tags = document.get("tags", False) if isinstance(document, dict) else False
    if tags is None:
        return []
    if not isinstance(tags, list):
        raise BadPage("it holds no list of tags")
    return [tag for tag in tags if isinstance(tag, str) and is_tag(tag)]


def in_order(tags: list[str]) -> tuple[str, ...]:
    """Sorted, each once; in slices, for one sort of 200,000 holds the interpreter for 100 ms."""
    slices = [sorted(tags[at : at + _SLICE]) for at in range(0, len(tags), _SLICE)]
    return tuple(tag for tag, _ in groupby(merge(*slices)))


class TagPages:
    """Reads every page of a repository's tags."""

    def __init__(
        self, name: str, questions: Questions, calls: Calls, in_thread: InThread, notices: Notices
    ) -> None:
        self._name = name
        self._notices = notices
        self._questions = questions
        self._calls = calls
        self._in_thread = in_thread

    async def all(self, repository: Repository) -> tuple[str, ...]:
        """All tags, sorted, each once; UpstreamFailed when there is no end to them."""
        tags: list[str] = []
        seen: set[str] = set()
        total, url = 0, self._questions.tags(repository).url
        while True:
            seen.add(url)
            body, following = await self._page(repository, url, first=len(seen) == 1)
            tags.extend(await self._read(body))
            total += len(body)
            if following is None:
                return await by_size(self._in_thread, total, lambda: in_order(tags))
            if following in seen or len(seen) >= MAX_PAGES or total > MAX_TOTAL_BYTES or len(tags) > MAX_TAGS:
                raise UpstreamFailed(self._name, f"there is no end to the list of tags of {repository.path}")
            url = following

    async def _page(self, repository: Repository, url: str, *, first: bool) -> tuple[bytes, str | None]:
        question = self._questions.tags(repository, url)
        answer = await self._calls.ask_ok(question)
        if first:
            self._notices.heard(repository, None, answer.headers("Warning"))
        body = await answer.read(MAX_PAGE_BYTES, question.what)
        try:
            return body, next_page(answer.headers("Link"), url)
        except BadPage as bad:
            raise UpstreamFailed(self._name, f"{question.what}: {bad}") from None

    async def _read(self, body: bytes) -> list[str]:
        try:
            return await by_size(self._in_thread, len(body), lambda: read_page(body))
        except BadPage as bad:
            raise UpstreamFailed(self._name, f"its list of tags is of no use: {bad}") from None
