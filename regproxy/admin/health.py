"""Does it run, and should it be sent clients: two questions, two pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.web.iweb import IRequest

from regproxy.admin.pages import Page, Sheet, as_json

Status = Callable[[], Mapping[str, object]]
Sentences = Callable[[], Sequence[str]]


def healthz(status: Status) -> Page:
    """200 as long as the daemon answers; ``status`` tells what is to be said about it now."""

    def page(request: IRequest) -> Sheet:
        return as_json({"status": "ok", **status()})

    return page


def nothing() -> Sequence[str]:
    """No sentence."""
    return ()


def readyz(reasons: Sentences, warnings: Sentences = nothing) -> Page:
    """200, or 503 while there are ``reasons`` against sending it clients.

    ``warnings`` are told with either, and change neither.
    """

    def page(request: IRequest) -> Sheet:
        against, besides = list(reasons()), list(warnings())
        body: dict[str, object] = (
            {"status": "not ready", "reasons": against} if against else {"status": "ready"}
        )
        return as_json(body | ({"warnings": besides} if besides else {}), 503 if against else 200)

    return page
