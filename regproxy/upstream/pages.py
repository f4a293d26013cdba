"""tags/list, page by page (R94): upstream's Link is followed as it is, on the same origin, bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from hyperlink import URL, URLParseError

from regproxy.errors import InvalidTag, InvalidTarget, UpstreamFailed
from regproxy.headers.origins import Origin
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Tag
from regproxy.upstream.calls import Calls
from regproxy.upstream.questions import Questions

MAX_PAGES = 500
MAX_PAGE_BYTES = 4 * 1024 * 1024
MAX_TOTAL_BYTES = 16 * 1024 * 1024
MAX_TAGS = 200_000
MAX_LINK_LENGTH = 16_384

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
    for header in links:
        for target, parameters in _LINK.findall(header[:MAX_LINK_LENGTH]):
            if _NEXT.search(parameters):
                return _resolve(target, here)
    return None


def _resolve(target: str, here: str) -> str:
    try:
        url = URL.from_text(here).click(target.strip()).replace(fragment="").to_text()
        origin = Origin.of(url)
    except (URLParseError, ValueError, NotImplementedError, InvalidTarget):
        raise BadPage("the next page has no usable address") from None
    if origin != Origin.of(here) or not url.isascii() or not url.isprintable() or " " in url:
        raise BadPage("the next page is on another host")
    return url


def read_page(body: bytes) -> list[str]:
    """The tags of one page; ``null`` is none of them. What is no tag is left out. BadPage."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadPage("it is not JSON") from None
    tags = document.get("tags", False) if isinstance(document, dict) else False
    if tags is None:
        return []
    if not isinstance(tags, list):
        raise BadPage("it holds no list of tags")
    return [tag for tag in tags if isinstance(tag, str) and _is_tag(tag)]


def _is_tag(text: str) -> bool:
    try:
        Tag.parse(text)
    except InvalidTag:
        return False
    return True


class TagPages:
    """Reads every page of a repository's tags."""

    def __init__(self, name: str, questions: Questions, calls: Calls) -> None:
        self._name = name
        self._questions = questions
        self._calls = calls

    async def all(self, repository: Repository) -> tuple[str, ...]:
        """All tags, sorted, each once; UpstreamFailed when there is no end to them."""
        tags: set[str] = set()
        seen: set[str] = set()
        total, url = 0, self._questions.tags(repository).url
        while True:
            seen.add(url)
            body, following = await self._page(repository, url)
            tags.update(self._read(body))
            total += len(body)
            if following is None:
                return tuple(sorted(tags))
            if following in seen or len(seen) >= MAX_PAGES or total > MAX_TOTAL_BYTES or len(tags) > MAX_TAGS:
                raise UpstreamFailed(self._name, f"there is no end to the list of tags of {repository.path}")
            url = following

    async def _page(self, repository: Repository, url: str) -> tuple[bytes, str | None]:
        question = self._questions.tags(repository, url)
        answer = await self._calls.ask_ok(question)
        body = await answer.read(MAX_PAGE_BYTES, question.what)
        try:
            return body, next_page(answer.headers("Link"), url)
        except BadPage as bad:
            raise UpstreamFailed(self._name, f"{question.what}: {bad}") from None

    def _read(self, body: bytes) -> list[str]:
        try:
            return read_page(body)
        except BadPage as bad:
            raise UpstreamFailed(self._name, f"its list of tags is of no use: {bad}") from None
