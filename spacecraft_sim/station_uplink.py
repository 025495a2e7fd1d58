"""The station's transmitters: each request goes up once, in the pass's uplink window, or never.

A request waits until its earliest time, then behind what its carrier is still sending.  What it
then meets decides its fate, and an id has one fate: the answer to a repetition is the first answer,
so that neither a sender nor a `receive` that was killed makes anything go up twice.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.errors import LocalError
from protocols.identifiers import Carrier
from spacecraft_sim.passes import Tracking
from spacecraft_sim.subsystems.common import Uplink

#: Fates remembered, oldest forgotten first: a day of one a second.  Whoever repeats does so sooner.
_REMEMBERED = 100_000
#: Requests that wait for their time; beyond this they are refused.
MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Radiation:
    """Octets that left the antenna in [start, end), ground time, TAI ns."""

    uplink: Uplink
    start_ns: int
    end_ns: int


class StationUplink:
    """rates_bit_s: by carrier.  No socket, no clock."""

    def __init__(self, tracking: Tracking, rates_bit_s: Mapping[Carrier, int]) -> None:
        if set(rates_bit_s) != set(Carrier):
            raise LocalError(f"uplink rates of {sorted(rates_bit_s)}; one a carrier wanted")
        self._tracking = tracking
        self._rates = dict(rates_bit_s)
        self._free_ns = dict.fromkeys(Carrier, 0)
        #: By carrier: (earliest time, order of asking, request), earliest first.
        self._waiting: dict[Carrier, list[tuple[int, int, UplinkMessage]]] = {
            carrier: [] for carrier in Carrier
        }
        self._asked = 0
        #: By id: what became of it.
        self._fates: OrderedDict[str, RadiatedMessage] = OrderedDict()
        self._waiting_ids: set[str] = set()
        self._answers: list[RadiatedMessage] = []
        self.radiated = 0
        self.refused = 0

    def request(self, now_ns: int, message: UplinkMessage) -> None:
        """To be radiated; a repetition is answered with what is known."""
        known = self._fates.get(message.id)
        if known is not None:
            self._answers.append(known)
            return
        if message.id in self._waiting_ids:
            return
        waiting = self._waiting[Carrier(message.carrier)]
        if len(waiting) >= MOST_WAITING:
            self._refuse(message, f"{MOST_WAITING} requests wait already")
            return
        self._waiting_ids.add(message.id)
        heapq.heappush(waiting, (max(now_ns, message.earliest_ns), self._asked, message))
        self._asked += 1

    def advance(self, now_ns: int) -> list[Radiation]:
        """What has begun to go up by `now_ns`, each carrier's in order of time."""
        found: list[Radiation] = []
        for carrier, waiting in self._waiting.items():
            while waiting:
                start_ns = max(waiting[0][0], self._free_ns[carrier])
                if start_ns > now_ns:
                    break
                radiation = self._radiate(carrier, heapq.heappop(waiting)[2], start_ns)
                if radiation is not None:
                    found.append(radiation)
        return found

    def _radiate(self, carrier: Carrier, message: UplinkMessage, start_ns: int) -> Radiation | None:
        end_ns = start_ns + -(-len(message.octets) * 8 * 10**9 // self._rates[carrier])
        if start_ns > message.latest_ns:
            late_s = (start_ns - message.latest_ns) / 1e9
            self._refuse(message, f"its latest time was {late_s:.3f} s before its turn")
        elif not self._tracking.transmits(start_ns):
            self._refuse(message, "no uplink window is open")
        elif not self._tracking.transmits(end_ns - 1):
            self._refuse(message, "the uplink window closes before its end")
        else:
            self._free_ns[carrier] = end_ns
            self.radiated += 1
            station = self._tracking.station(start_ns)
            self._settle(
                RadiatedMessage(
                    *(message.id, message.service, message.carrier), start_ns, end_ns, "", station
                )
            )
            return Radiation(Uplink(carrier, message.octets), start_ns, end_ns)
        return None

    def _refuse(self, message: UplinkMessage, why: str) -> None:
        self.refused += 1
        self._settle(RadiatedMessage(message.id, message.service, message.carrier, refused=why))

    def _settle(self, fate: RadiatedMessage) -> None:
        self._waiting_ids.discard(fate.id)
        self._fates[fate.id] = fate
        while len(self._fates) > _REMEMBERED:
            self._fates.popitem(last=False)
        self._answers.append(fate)

    def answers(self) -> list[RadiatedMessage]:
        """What became of requests, since the last call."""
        answers, self._answers = self._answers, []
        return answers
