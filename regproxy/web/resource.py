"""The root of the tree: who asks, what for, may it; then Klein, or an answer at once.

A request is routed here, once, for every shape of URL. Klein is then given the one word that the
route stands for, so that no path of a client's ever meets its rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from twisted.logger import Logger
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from regproxy.access.entrance import Entrance
from regproxy.access.identity import ANONYMOUS, Identity
from regproxy.access.networks import admit
from regproxy.access.policy import Policy
from regproxy.errors import RegproxyError
from regproxy.oci.repository import Repository
from regproxy.settings import Network
from regproxy.web.api import RegistryApi
from regproxy.web.errors import Subject
from regproxy.web.gate import Gate
from regproxy.web.request import RegistryRequest
from regproxy.web.routing import (
    BaseRoute,
    BlobRoute,
    CatalogRoute,
    ManifestRoute,
    Place,
    ReferrersRoute,
    Route,
    Routes,
    TagsRoute,
)
from regproxy.web.trace import Brief, Tracing, trace_value

_SUBJECTS: dict[type, Subject] = {ManifestRoute: Subject.MANIFEST, BlobRoute: Subject.BLOB}
_WORDS: dict[type, bytes] = {
    BaseRoute: b"base",
    CatalogRoute: b"catalog",
    ManifestRoute: b"manifest",
    BlobRoute: b"blob",
    TagsRoute: b"tags",
    ReferrersRoute: b"referrers",
}


class ApiResource(Resource):
    """The root of the tree: judges a request's path and its sender, then hands it to Klein."""

    isLeaf = True

    log = Logger()

    def __init__(
        self,
        api: RegistryApi,
        routes: Routes,
        networks: Iterable[Network],
        gate: Gate | None = None,
        entrance: Entrance | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        Resource.__init__(self)
        self._tracing = tracing
        self._api = api
        self._klein = api.app.resource()
        self._routes = routes
        self._networks = tuple(networks)
        self._gate = gate or Gate(is_open=True)
        self._entrance = entrance or Entrance(Policy(routes.upstreams))
        self._told_of_clear = False

    def render(self, request: IRequest) -> int:
        """Admit, find out who asks, route, ask whether it may, serve.

        Raises what :func:`admit`, :meth:`Routes.find` and :class:`Entrance` raise, in this order:
        whoever is kept out learns nothing of the settings.
        """
        assert isinstance(request, RegistryRequest)
        admit(request.client_host, self._networks)
        who: Identity = request.channel.identity
        sent = request.authorization if self._entrance.asks and not who.known else None
        if sent is None or self._is_open(request):
            self._enter(request, who)
        else:
            self._enter_as(request, sent)
        return int(NOT_DONE_YET)

    def _is_open(self, request: RegistryRequest) -> bool:
        """Whether everyone may have what is asked for: then it does not matter who asks."""
        if not self._entrance.policy.enters(ANONYMOUS).allows:
            return False
        try:
            route = self._find(request)
        except RegproxyError:
            return True
        if isinstance(route, CatalogRoute):
            return False
        if isinstance(route, BaseRoute) and route.upstream is not None:
            return self._entrance.policy.uses(ANONYMOUS, route.upstream).allows
        place: Place | None = getattr(route, "place", None)
        return place is None or self._entrance.policy.pulls(ANONYMOUS, place.repository).allows

    def _enter_as(self, request: RegistryRequest, sent: bytes) -> None:
        """Enter as whom ``sent`` shows, at once where that is remembered."""
        if not self._told_of_clear and request.is_in_clear:
            self._told_of_clear = True
            self.log.warn(
                "Passwords or tokens come by plain HTTP, from {client} first: everyone on the way reads them",
                client=request.client_host,
            )
        checking = self._entrance.identify(sent, request.client_host or "")
        if not checking.called:
            request.notifyFinish().addErrback(lambda _: checking.cancel())
        checking.addCallback(lambda found: self._enter(request, found, tried=not found.known))
        checking.addErrback(request.failed)

    def _enter(self, request: RegistryRequest, who: Identity, *, tried: bool = False) -> None:
        """Serve ``who``, or raise. ``tried``: something was sent that shows nobody."""
        request.identity, request.tried = who, tried
        try:
            route = self._find(request)
        except RegproxyError:
            self._entrance.check_enters(who, tried=tried)
            raise
        request.route = route
        place: Place | None = getattr(route, "place", None)
        if isinstance(route, BaseRoute) and route.upstream is not None:
            self._entrance.check_asks(who, route.upstream, tried=tried)
        elif place is None:
            self._entrance.check_enters(who, tried=tried)
        else:
            request.upstream, request.namespace = place.repository.upstream, place.namespace
            self._entrance.check_pulls(who, place.repository, tried=tried)
            if self._tracing is not None and self._tracing.asked_by(request):
                request.trace = partial(_trace, request, self._tracing.brief, place.repository)
        if isinstance(route, ManifestRoute) and self._gate.is_open and self._api.at_hand(request, route):
            return
        request.subject = _SUBJECTS.get(type(route), Subject.NAME)
        request.postpath = [_WORDS[type(route)]]
        if place is None:
            self._serve(request)
        else:
            self._gate.passed().addCallback(lambda _: self._serve(request)).addErrback(request.failed)

    def _find(self, request: RegistryRequest) -> Route:
        if request.absolute_port is not None and request.host_name is not None:
            own_port = getattr(request.channel.transport.getHost(), "port", None)
            self._routes.check_authority(request.host_name, request.absolute_port, own_port)
        return self._routes.find(request.path, request.query, request.host_name, request.channel.bound_to)

    def _serve(self, request: RegistryRequest) -> None:
        if not request.is_gone():
            self._klein.render(request)


def _trace(request: RegistryRequest, brief: Brief, repository: Repository) -> str:
    """As things are when the answer leaves."""
    route = request.route
    about = getattr(route, "reference", None) or getattr(route, "digest", None)
    return trace_value(request.how, request.cause, brief(repository, about))
