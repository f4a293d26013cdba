"""How clients name an upstream beside its own name: hosts and listeners that are its alone.

And what a name hides that is no host name: a first component is then a prefix, although
repositories may begin with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from regproxy.config import defaults
from regproxy.config.declared import listeners, registries
from regproxy.config.endpoints import Endpoint
from regproxy.config.section import Section
from regproxy.config.setting import Setting
from regproxy.oci.repository import is_host_name
from regproxy.settings import UpstreamSettings


def read_hosts(section: Section) -> tuple[str, ...]:
    """The names of this mirror that mean the upstream of ``section``."""
    return tuple(dict.fromkeys(section.values(registries.HOSTS) or ()))


def read_listen(section: Section) -> tuple[str, ...]:
    """The endpoints whose requests all mean the upstream of ``section``."""
    return _endpoints(section, registries.UPSTREAM_LISTEN)


def bound_listeners(root: Section) -> tuple[str, ...]:
    """The endpoints of all upstreams."""
    return tuple(each for _, section in root.named(registries.UPSTREAMS) for each in read_listen(section))


def check_ways(root: Section, upstreams: Sequence[UpstreamSettings], sections: Mapping[str, Section]) -> None:
    """One host, one endpoint, one upstream; and a warning for each name that hides repositories."""
    owners = {name: upstream for upstream in upstreams for name in (upstream.name, *upstream.aliases)}
    served = dict.fromkeys(_endpoints(root, listeners.LISTEN) or defaults.listen(), "listen")
    for upstream in upstreams:
        section = sections[upstream.name]
        for host in upstream.hosts:
            owner = owners.setdefault(host, upstream)
            if owner is not upstream:
                section.wrong("hosts", f"a Host means one upstream, and one of these means {owner.name}")
        for description in upstream.listen:
            if description in served and Endpoint.parse(description).get("port") != "0":
                section.wrong("listen", f"{served[description]} has the same endpoint")
            served[description] = section.path("listen")
        for sentence in _hidden(upstream, upstreams):
            section.warn("prefix", sentence)


def _endpoints(section: Section, setting: Setting[str]) -> tuple[str, ...]:
    written = section.values(setting) or ()
    return tuple(str(Endpoint.parse(text).below(section.report.folder)) for text in written)


def _hidden(upstream: UpstreamSettings, upstreams: Sequence[UpstreamSettings]) -> Iterator[str]:
    """What of the default upstream cannot be had by its plain name, because ``upstream`` has it."""
    default = next((each for each in upstreams if each.default), None)
    if default is None or default is upstream or is_host_name(upstream.name):
        return
    yield (
        f"{upstream.name}/NAME is a repository of {upstream.name} now: repositories of {default.name} that"
        f" begin with {upstream.name}/ are had as {default.name}/{upstream.name}/NAME only"
    )
