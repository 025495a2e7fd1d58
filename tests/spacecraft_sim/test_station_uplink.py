"""What is asked for goes up once, in its time and in the window, or never, and that is told."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.errors import LocalError
from protocols.identifiers import Carrier
from spacecraft_sim import station_uplink
from spacecraft_sim.channel import Channel, FixedLightTime
from spacecraft_sim.passes import AlwaysTracking
from spacecraft_sim.scenario import ChannelSettings, Interval
from spacecraft_sim.station_uplink import Radiation, StationUplink
from spacecraft_sim.subsystems.common import Uplink

S = 10**9
#: One octet a second, so that lengths are seconds.
RATES = dict.fromkeys(Carrier, 8)


class Window(AlwaysTracking):
    """Transmits in [begin, end)."""

    def __init__(self, begin_s: int, end_s: int) -> None:
        self._begin_ns, self._end_ns = begin_s * S, end_s * S

    def transmits(self, now_ns: int) -> bool:
        return self._begin_ns <= now_ns < self._end_ns

    def station(self, now_ns: int) -> str:
        return "Yeoju"


def asked(
    name: str,
    octets: int = 1,
    *,
    earliest_s: int = 0,
    latest_s: int = 1000,
    carrier: Carrier = Carrier.COMMAND,
) -> UplinkMessage:
    return UplinkMessage(name, "test", carrier, bytes(octets), earliest_s * S, latest_s * S)


def test_carriers_send_one_after_another_and_beside_each_other() -> None:
    station = StationUplink(AlwaysTracking(), RATES)
    for message in (asked("a", 5), asked("b", 3), asked("k", 4, carrier=Carrier.RELAY)):
        station.request(10 * S, message)
    found = station.advance(100 * S)
    assert [(r.uplink.carrier, r.start_ns // S, r.end_ns // S) for r in found] == [
        ("command", 10, 15),
        ("command", 15, 18),
        ("relay", 10, 14),
    ]
    # However often the station was looked at.
    again = StationUplink(AlwaysTracking(), RATES)
    again.request(10 * S, asked("a", 5))
    again.request(10 * S, asked("b", 3))
    stepwise = [r for t in range(9, 100) for r in again.advance(t * S)]
    assert stepwise == found[:2]


def test_a_request_waits_for_its_time_and_later_ones_may_go_before_it() -> None:
    station = StationUplink(AlwaysTracking(), RATES)
    station.request(0, asked("later", earliest_s=50))
    station.request(0, asked("now"))
    assert [r.start_ns for r in station.advance(49 * S)] == [0]
    assert station.advance(50 * S - 1) == []
    assert [r.start_ns for r in station.advance(60 * S)] == [50 * S]


def test_refusals_say_why() -> None:
    station = StationUplink(Window(10, 20), RATES)
    station.request(0, asked("early"))
    assert station.advance(9 * S) == []
    station.request(10 * S, asked("fits", 6))
    station.request(10 * S, asked("cut", 5))
    station.request(10 * S, asked("late", latest_s=15))
    station.request(25 * S, asked("after"))
    assert len(station.advance(30 * S)) == 1
    fates = {fate.id: fate for fate in station.answers()}
    assert fates.pop("fits") == RadiatedMessage(
        "fits", "test", "command", 10 * S, 16 * S, "", "Yeoju"
    )
    assert {name: fate.refused for name, fate in fates.items()} == {
        "early": "no uplink window is open",
        "cut": "the uplink window closes before its end",
        "late": "its latest time was 1.000 s before its turn",
        "after": "no uplink window is open",
    }
    assert all(fate.start_ns == fate.end_ns == 0 for fate in fates.values())
    assert (station.radiated, station.refused) == (1, 4)


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_uplink, "MOST_WAITING", 2)
    station = StationUplink(AlwaysTracking(), RATES)
    for name in "abc":
        station.request(0, asked(name, earliest_s=5))
    assert [(f.id, f.refused) for f in station.answers()] == [("c", "2 requests wait already")]
    assert len(station.advance(100 * S)) == 2


def test_a_rate_for_each_carrier_is_wanted() -> None:
    with pytest.raises(LocalError, match="one a carrier"):
        StationUplink(AlwaysTracking(), {Carrier.COMMAND: 8})


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 40), st.booleans()),
        max_size=40,
    )
)
def test_however_often_and_whenever_it_is_said_each_goes_up_at_most_once(
    said: list[tuple[int, int, int, bool]],
) -> None:
    station = StationUplink(Window(10, 30), RATES)
    now_s = 0
    radiated: list[Radiation] = []
    fates: dict[str, set[RadiatedMessage]] = {}
    for number, wait_s, earliest_s, look in said:
        now_s += wait_s
        # A sender says the same again, whatever it has become of it.
        earliest_s = 7 * number if number % 2 else earliest_s * 0
        station.request(now_s * S, asked(str(number), number + 1, earliest_s=earliest_s))
        if look:
            radiated += station.advance(now_s * S)
            for fate in station.answers():
                fates.setdefault(fate.id, set()).add(fate)
    radiated += station.advance(10_000 * S)
    for fate in station.answers():
        fates.setdefault(fate.id, set()).add(fate)
    assert all(len(told) == 1 for told in fates.values())
    assert set(fates) == {str(number) for number, *_ in said}
    went = sorted(fate.start_ns for (fate,) in fates.values() if not fate.refused)
    assert sorted(r.start_ns for r in radiated) == went
    for before, after in pairwise(radiated):
        assert after.start_ns >= before.end_ns
    assert all(r.start_ns >= 10 * S and r.end_ns <= 30 * S for r in radiated)


def channel(**settings: object) -> Channel:
    return Channel(ChannelSettings(**settings), FixedLightTime(499.0), 1, 0)  # type: ignore[arg-type]


def test_the_way_up_takes_light_time_and_flips_lose_bits_as_told() -> None:
    radiation = Radiation(Uplink(Carrier.RELAY, bytes(10_000)), 5 * S, 6 * S)
    clear = channel()
    assert clear.uplink(radiation) == (505 * S, radiation.uplink)
    noisy = channel(uplink_bit_error_rate=1e-3)
    arrived = noisy.uplink(radiation)
    assert arrived is not None
    flipped = sum(octet.bit_count() for octet in arrived[1].octets)
    assert 40 < flipped < 130
    assert noisy.counts.damaged_up == 1
    lossy = channel(uplink_loss=0.2)
    lost = sum(lossy.uplink(radiation) is None for _ in range(1000))
    assert 150 < lost < 250
    assert (lossy.counts.sent_up, lossy.counts.lost_up) == (1000, lost)
    assert channel(outage=(Interval(500.0, 510.0),)).uplink(radiation) is None
