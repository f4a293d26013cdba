"""The operation ``explain``: what may be asked, and what is told. It changes nothing and asks nobody."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from regproxy.access.identity import ANONYMOUS
from regproxy.access.policy import Policy
from regproxy.admin.door import Action, Body, Outcome, fields
from regproxy.admin.names import ImageNames
from regproxy.admin.standings import allowance_document, circuit_document
from regproxy.errors import InvalidRequest, UnknownUpstream
from regproxy.interfaces import TagRecord
from regproxy.oci.digest import Digest
from regproxy.oci.repository import Repository
from regproxy.oci.tag import Reference
from regproxy.proxy.closure import Closure
from regproxy.proxy.completeness import Chosen
from regproxy.proxy.explaining import Content, Explaining, Explanation
from regproxy.proxy.freshness import timestamp
from regproxy.settings import TagRule

MAX_HISTORY = 20


@attrs.frozen(slots=True)
class ExplainRequest:
    """One tag or digest."""

    repository: Repository
    reference: Reference

    @property
    def image(self) -> str:
        """As people write it."""
        return f"{self.repository}{'@' if isinstance(self.reference, Digest) else ':'}{self.reference}"

    def __str__(self) -> str:
        return self.image


def explain_action(explaining: Explaining, names: ImageNames, policy: Policy) -> Action[ExplainRequest]:
    """The row for the door's table."""

    def read(body: Body) -> ExplainRequest:
        image = fields(body, ("image",)).get("image")
        if not isinstance(image, str):
            raise InvalidRequest("expected image, a name with a tag or a digest")
        repository, reference = names.parse(image)
        if reference is None:
            raise InvalidRequest("a whole repository cannot be explained: name a :TAG or a @DIGEST")
        return ExplainRequest(repository, reference)

    async def carry_out(asked: ExplainRequest) -> Outcome:
        found = await explaining.explain(asked.repository, asked.reference)
        answer = document(asked.image, found, access_document(policy, asked.repository))
        return Outcome(found.decision.act, answer)

    return Action(read, carry_out)


def access_document(policy: Policy, repository: Repository) -> dict[str, object] | None:
    """What our own rules say to who pulls it and is not known; None where its upstream has no rules."""
    try:
        verdict = policy.pulls(ANONYMOUS, repository)
    except (KeyError, UnknownUpstream):
        return None
    return {"anonymous": verdict.allows, "reason": verdict.reason}


def document(image: str, found: Explanation, access: Mapping[str, object] | None) -> dict[str, object]:
    """For who asked. Times are RFC 3339, amounts bytes (``_bytes``) and seconds (``_s``)."""
    return {
        "program": "regproxy",
        "version": 1,
        "action": "explain",
        "image": image,
        "upstream": found.repository.upstream,
        "repository": found.repository.path,
        "access": access,
        "rule": None if found.rule is None else _rule(found.rule),
        "tag": None if found.record is None else _tag(found.record, found.age_s),
        "content": None if found.content is None else _content(found.content),
        "in_outage": None if found.in_outage is None else _in_outage(found.in_outage),
        "circuit": circuit_document(found.standing, found.now_s),
        "allowance": allowance_document(found.allowance, found.now_s),
        "warnings": list(found.warnings),
        "decision": attrs.asdict(found.decision),
    }


def _rule(rule: TagRule) -> dict[str, object]:
    """``line`` None: it is built in."""
    return {
        "match": rule.match,
        "line": rule.line or None,
        "fresh_s": rule.fresh_s,
        "grace_s": rule.grace_s,
        "revalidate_wait_s": rule.revalidate_wait_s,
        "stale_if_error_s": rule.stale_if_error_s,
        "on_missing": "keep" if rule.keep_missing else "drop",
        "on_denied": "stale" if rule.serve_denied else "refuse",
    }


def _tag(record: TagRecord, age_s: float | None) -> dict[str, object]:
    return {
        "digest": str(record.descriptor.digest),
        "confirmed": timestamp(record.checked_s),
        "age_s": None if age_s is None else round(age_s, 3),
        "history": [
            {
                "digest": str(meaning.digest),
                "first_seen": timestamp(meaning.first_s),
                "last_seen": timestamp(meaning.last_s),
            }
            for meaning in record.history[-MAX_HISTORY:]
        ],
    }


def _content(content: Content) -> dict[str, object]:
    return {
        "digest": str(content.digest),
        "type": None if content.kind is None else content.kind.value,
        "media_type": content.media_type,
        "size_bytes": content.size_bytes,
        "right": content.right,
        "since": None if content.since_s is None else timestamp(content.since_s),
        "source": content.source,
        "closure": None if content.closure is None else _closure(content.closure),
    }


def _in_outage(chosen: Chosen) -> dict[str, object]:
    """``missing`` counts what it lacks; not ``newest``: it is what the tag meant before."""
    return {
        "digest": str(chosen.descriptor.digest),
        "newest": chosen.newest,
        "missing": chosen.missing,
    }


def _closure(closure: Closure) -> dict[str, object]:
    return {**attrs.asdict(closure), "whole": closure.whole}
