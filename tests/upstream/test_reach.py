"""Who may lead where (R80): the verdict, as a pure function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regproxy.headers.addresses import Place
from regproxy.headers.origins import Origin
from regproxy.upstream.reach import EVERYWHERE, PUBLIC_ONLY, Bounds, ForbiddenAddress, Reach, Verdict

HOME = Origin.of("https://registry.example")
AWAY = Origin.of("https://cdn.example")
places = st.sampled_from(Place)
reaches = st.builds(Reach, st.booleans(), st.booleans())
hosts = st.sampled_from(["registry.example", "localhost", "127.0.0.1", "0x7f.1", "10.0.0.1", "[::1]"])
origins = hosts.map(lambda host: Origin.of(f"http://{host}:5000"))


@given(reaches)
def test_nothing_reaches_link_local(reach: Reach) -> None:
    assert not reach.allows(Place.NEVER)
    assert reach.allows(Place.PUBLIC)


@given(places)
def test_an_answer_leads_to_its_own_kind_at_most(place: Place) -> None:
    for other in Place:
        if Reach.from_place(place).allows(other):
            assert other in (Place.PUBLIC, place)
    assert place is Place.NEVER or Reach.from_place(place).allows(place)


@given(origins, reaches, st.booleans())
def test_what_the_settings_name_may_be_private_and_on_loopback_where_written_so(
    origin: Origin, sent_by: Reach, private: bool
) -> None:
    """Whoever sends us there has no say."""
    reach = Bounds.of([origin], private).reach(origin, sent_by)
    written = origin.host in ("localhost", "127.0.0.1", "0x7f.1", "::1")
    assert reach == Reach(private=True, loopback=written or private)


@given(st.lists(origins, max_size=3), reaches)
def test_anything_else_is_as_far_as_who_sent_us(named: list[Origin], sent_by: Reach) -> None:
    assert Bounds.of(named, private=False).reach(AWAY, sent_by) == sent_by
    assert Bounds.of(named, private=True).reach(AWAY, sent_by) == EVERYWHERE


def test_another_port_or_scheme_is_not_named() -> None:
    bounds = Bounds.of([HOME], private=False)
    for url in ("http://registry.example", "https://registry.example:444", "https://a.registry.example"):
        assert bounds.reach(Origin.of(url), PUBLIC_ONLY) == PUBLIC_ONLY


@given(st.booleans(), reaches, places)
def test_a_verdict_is_its_reach(named: bool, reach: Reach, place: Place) -> None:
    if reach.allows(place):
        Verdict(reach, named).judge(place)
    else:
        with pytest.raises(ForbiddenAddress) as refused:
            Verdict(reach, named).judge(place)
        assert (refused.value.place, refused.value.named) == (place, named)
