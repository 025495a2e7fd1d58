"""From the spacecraft's frames to an operator's values: a report that came in parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ground.monitor.decoding import Decoder
from ground.monitor.l4_events import ON_BOARD
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from protocols.bus.messages import PacketsMessage
from protocols.dictionary.l4_structures import KnownStructures
from spacecraft_sim.scenario import Mars, Scenario
from tests.spacecraft_sim.commanding import flight


def test_a_report_in_parts_is_read_like_any_other() -> None:
    craft = flight(Scenario(mars=Mars(present=False)))
    before = craft.run(20)
    packet = craft.sender.packet("PARAMETER_REPORT", {"PARAMETERS": ["SC_MODE"] * 200})
    downlink = craft.run(60, craft.sender.uplink(packet))
    octets = before.octets + downlink.octets
    profile = load_profile("l4_relay")
    chain = ReceiveChain(profile)
    middle = len(octets) // 2
    first = chain.push(octets[:middle], 0).packets
    kept = chain.snapshot()
    chain = ReceiveChain(profile)
    chain.restore(kept)
    rest = chain.push(octets[middle:], 10**9).packets
    assert chain.statistics().counts["large_reports"] == {
        "parts": 3, "joined": 1, "incomplete": 0, "damaged": 0, "orphans": 0
    }  # fmt: skip
    decoder = Decoder(KnownStructures(), ON_BOARD)
    values: list[float] = []
    for number, batch in enumerate((first, rest)):
        batch = batch.select(~batch.is_idle)
        message = PacketsMessage(
            "downlink", batch, np.zeros(len(batch), np.bool_), 0, number * 10**6
        )
        for table in decoder.decode(message).tables:
            if table.definition == "PARAMETER_VALUES":
                (column,) = [one for one in table.columns if one.name == "PAR_VALUE"]
                values += list(column.raw[0])
    assert values == [2.0] * 200
    # Whoever does not ask for it gets the parts alone.
    plain = ReceiveChain(replace(profile, large_reports=()))
    assert len(plain.push(octets, 0).packets) == len(first) + len(rest) - 1
