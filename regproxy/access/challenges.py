"""What a client is told of how to say who it is (R70). Pure."""

from __future__ import annotations

import attrs

from regproxy.oci.repository import Repository

REALM = "regproxy"
CATALOG_SCOPE = "registry:catalog:*"


@attrs.frozen(slots=True)
class Challenges:
    """The ways in: ``basic``, and bearer tokens from ``realm`` for ``service``.

    Tokens that clients are not told where to get are offered only where there is nothing else.
    """

    basic: bool = False
    realm: str | None = None
    service: str | None = None

    def __bool__(self) -> bool:
        return self.basic or self.service is not None

    def all(self, scope: str | None, error: str | None = None) -> tuple[str, ...]:
        """A value of ``WWW-Authenticate`` for each way in, tokens first: clients take the first they know."""
        bearer = self.service is not None and (self.realm is not None or not self.basic)
        found = [self._bearer(scope, error)] if bearer else []
        return (*found, f'Basic realm="{REALM}"') if self.basic else tuple(found)

    def _bearer(self, scope: str | None, error: str | None) -> str:
        parameters = {
            "realm": REALM if self.realm is None else self.realm,
            "service": self.service,
            "scope": scope,
            "error": error,
        }
        return "Bearer " + ",".join(
            f'{name}="{_quoted(value)}"' for name, value in parameters.items() if value is not None
        )


def pull_scope(repository: Repository) -> str:
    """The scope that lets pull a repository, by its whole name."""
    return f"repository:{repository}:pull"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
