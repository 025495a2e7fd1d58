"""`l4 trace` where an event and what it came of do not name the same instants or places."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ground.adapters.journal import FileJournal
from ground.config import MONITOR, RECEIVE, RunSettings, prepare_run_directory
from ground.trace import trace
from protocols.bus.columns import ParameterColumn
from protocols.bus.messages import (
    BusMessage,
    Event,
    EventMessage,
    PacketsMessage,
    ParametersMessage,
    ParameterTable,
)
from protocols.bus.replay import build_record
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from protocols.timecodes.tai import tai_ns_from_utc_iso

T0 = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")
S = 10**9
STEP_S, LIGHT_S = 10, 499


def journal(settings: RunSettings, service: str, topic: str, message: BusMessage) -> str:
    with closing(FileJournal(settings.journal_dir(service, topic))) as one:
        one.append([build_record(T0, message.build())])
        return one.identity


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    """Three packets, ten seconds apart; the last two are out of limits, and the last one told."""
    settings = prepare_run_directory(tmp_path, base_port=20_000, receivers="yeoju,dss36")
    packets = PacketBatch.from_packets(
        [bytes([8, 1, 192, n, 0, 0, n]) for n in range(3)],
        vcid=0,
        ert_ns=[T0 + (LIGHT_S + STEP_S * n) * S for n in range(3)],
    )
    told = PacketsMessage("down", packets, np.zeros(3, bool), T0, 70, 0, 4096, "receive.yeoju")
    identity = journal(settings, RECEIVE, Topic.PACKETS, told)
    scet_ns = T0 + STEP_S * S * np.arange(3)
    column = ParameterColumn("FLUX", np.array([1.0, 12.0, 13.0]), np.array([1, 2, 2], np.uint8))
    table = ParameterTable(
        "PROTONS", 70 + np.arange(3), scet_ns, packets.ert_ns, np.zeros(3, bool), [column]
    )
    journal(
        settings, MONITOR, Topic.PARAMETERS, ParametersMessage("d", identity, 0, T0, 0, (table,))
    )
    event = Event(
        "limit",
        "warning",
        "FLUX",
        "high",
        int(scet_ns[1]),
        int(packets.ert_ns[2]),
        T0,
        after="HIGH",
    )
    journal(settings, MONITOR, Topic.EVENTS, EventMessage(identity, 0, 5, (event,)))
    return settings


def test_a_limit_that_persists_comes_of_the_packet_that_told_it(settings: RunSettings) -> None:
    found = trace(settings, "5")
    assert found["event"]["scet"] == "2026-12-01T00:00:10.000000Z"
    assert found["parameter"] == {
        **found["parameter"], "definition": "PROTONS", "row": 2, "parameters": 1,
    }  # fmt: skip
    assert (found["packet"]["number"], found["packet"]["sequence_count"]) == (72, 2)


def test_the_capture_of_an_antenna_stays_where_its_receiver_is(settings: RunSettings) -> None:
    assert trace(settings, "FLUX")["capture"] == {"antenna": "yeoju", "elsewhere": True}
    settings.capture_of("receive.yeoju").mkdir()
    assert trace(settings, "FLUX")["capture"] is None  # it is here, and has nothing of that time
