"""Who opens the doors of one upstream: its own origins with its credentials, all others without."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred

from regproxy.headers.origins import Origin
from regproxy.metrics.upstreams import UpstreamFigures
from regproxy.settings import Quirks, UpstreamSettings
from regproxy.upstream.authorization import NO_QUIRKS, Door
from regproxy.upstream.calls import Doors
from regproxy.upstream.client import Client
from regproxy.upstream.credentials import CredentialSource
from regproxy.upstream.limits import Limits
from regproxy.upstream.running import Running
from regproxy.upstream.token_requests import Token, TokenNeed
from regproxy.upstream.tokens import RealmRules, TokenCache, TokenFetcher


@attrs.frozen(slots=True)
class Hall:
    """Makes them. ``realm`` is the built-in token server of a well-known registry."""

    settings: UpstreamSettings
    client: Client
    wall: Callable[[], float]
    realm: Origin | None
    running: Running
    limits: Limits
    credentials: CredentialSource
    figures: UpstreamFigures

    def doors(self) -> Doors:
        """A door an origin."""
        own = {
            origin: self._door(origin, self.credentials, self.settings.quirks)
            for origin in map(Origin.of, self.settings.endpoints)
        }
        nobody = CredentialSource(self.settings.name, None)
        return Doors(own, lambda origin: self._door(origin, nobody))

    def _door(self, origin: Origin, credentials: CredentialSource, quirks: Quirks = NO_QUIRKS) -> Door:
        trusted = trusted_realms(self.settings, self.realm) if credentials else ()
        rules = RealmRules(origin, trusted, self.settings.insecure)
        fetcher = TokenFetcher(self.settings.name, self.client, rules, credentials, self.wall)

        def fetch(need: TokenNeed) -> Deferred[Token]:
            return self.running.call(fetcher.fetch(need), "a token", self.limits.first_byte_s, nested=True)

        tokens = TokenCache(fetch, self.wall, told=self.figures.token)
        return Door(self.settings.name, origin, tokens, credentials, self.settings.insecure, quirks)


def trusted_realms(settings: UpstreamSettings, realm: Origin | None) -> tuple[Origin, ...]:
    """The token servers elsewhere that get the credentials."""
    return settings.token_realms if realm is None else (*settings.token_realms, realm)
