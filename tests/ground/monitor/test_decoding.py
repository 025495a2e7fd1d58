"""Packets to parameters, limit transitions and events, without bus or clock."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from construct import BitsInteger, Int8ub, Int16sb, this

from ground.monitor.decoding import Decoder, format_value
from ground.monitor.l4_events import EVENT_PACKET, ON_BOARD
from protocols.bus.messages import Event, EventKind, PacketsMessage, Severity, parse
from protocols.dictionary.l4 import DICTIONARY as L4
from protocols.dictionary.l4_fields import SCET
from protocols.dictionary.l4_reports import EVERYTHING, housekeeping_definition
from protocols.dictionary.l4_structures import KnownStructures
from protocols.packets.batch import PacketBatch
from protocols.packets.pus import with_error_control
from protocols.telemetry.calibration import Enumeration, Polynomial
from protocols.telemetry.declaration import Dictionary, PacketDefinition, Parameter, Repeat, Spare
from protocols.telemetry.limits import EnumerationLimits, Limits, LimitState
from protocols.telemetry.sampling import Sampler

S = 1_000_000_000
T0 = 2_000_000_000 * S

VOLTAGE = Parameter(
    "VOLTAGE", Int16sb, "V", Polynomial((0.0, 0.1)), Limits((24.0, 32.0), (22.0, 34.0), 2)
)
MODE = Parameter(
    "MODE",
    BitsInteger(4),
    "",
    Enumeration({0: "SAFE", 1: "NOMINAL"}),
    EnumerationLimits(critical=("SAFE",)),
)
FLUX = Parameter("FLUX", Int8ub, "", None, Limits((None, 100.0)))
DICTIONARY = Dictionary(
    "TEST",
    (
        PacketDefinition("HK", 1, (SCET, VOLTAGE, MODE, Spare(4)), time="SCET"),
        PacketDefinition("HK_FAST", 2, (SCET, VOLTAGE), time="SCET"),
        PacketDefinition(
            "SCI",
            3,
            (SCET, Parameter("N", Int8ub), Repeat(FLUX, count=this.N)),
            time="SCET",
        ),
    ),
)


def message(*packets: bytes, playback: bool = False, first: int = 0) -> PacketsMessage:
    batch = PacketBatch.from_packets(
        packets, ert_ns=[T0 + 499 * S + i for i in range(len(packets))]
    )
    built = PacketsMessage("l", batch, np.full(len(packets), playback), T0 + 500 * S, first)
    return parse(PacketsMessage, built.build())


def hk(second: int, voltage: float, mode: str = "NOMINAL") -> bytes:
    return DICTIONARY.encode("HK", {"SCET": T0 + second * S, "VOLTAGE": voltage, "MODE": mode})


def fast(second: int, voltage: float) -> bytes:
    return DICTIONARY.encode("HK_FAST", {"SCET": T0 + second * S, "VOLTAGE": voltage})


def limits(decoder: Decoder, *messages: PacketsMessage) -> list[Event]:
    found: list[Event] = []
    for one in messages:
        found += [e for e in decoder.decode(one).events if e.kind == EventKind.LIMIT]
    return found


def test_tables_hold_values_times_and_the_packets_own_numbers() -> None:
    decoder = Decoder(DICTIONARY)
    decoded = decoder.decode(message(fast(0, 28.0), hk(1, 29.0), fast(2, 21.0), first=100))
    tables = {table.definition: table for table in decoded.tables}
    assert tables["HK_FAST"].packet.tolist() == [100, 102]
    assert tables["HK"].packet.tolist() == [101]
    assert tables["HK_FAST"].scet_ns.tolist() == pytest.approx([T0, T0 + 2 * S], abs=60)
    assert tables["HK_FAST"].ert_ns.tolist() == [T0 + 499 * S, T0 + 499 * S + 2]
    voltage = tables["HK_FAST"].column("VOLTAGE")
    assert isinstance(voltage.engineering, np.ndarray)
    assert voltage.engineering.tolist() == pytest.approx([28.0, 21.0])
    assert isinstance(voltage.raw, np.ndarray)
    assert voltage.raw.tolist() == [280, 210]
    assert voltage.limit_state.tolist() == [LimitState.NOMINAL, LimitState.CRITICAL_LOW]
    assert voltage.unit == "V"
    assert len(tables["HK"].column("SCET").limit_state) == 0


def test_a_transition_needs_its_persistence_over_messages_and_definitions() -> None:
    decoder = Decoder(DICTIONARY)
    assert limits(decoder, message(hk(0, 28.0)), message(hk(1, 33.0))) == []
    assert limits(decoder, message(hk(2, 28.0)), message(hk(3, 33.0))) == []
    (event,) = limits(decoder, message(fast(4, 33.5), hk(5, 33.6)))
    assert (event.name, event.severity) == ("VOLTAGE", Severity.WARNING)
    assert (event.before, event.after) == ("NOMINAL", "WARNING_HIGH")
    assert (event.value, event.threshold) == ("33.5 V", "above 32 V")
    assert event.scet_ns == pytest.approx(T0 + 3 * S, abs=60)
    assert (event.ert_ns, event.reception_ns) == (T0 + 499 * S, T0 + 500 * S)
    (event,) = limits(decoder, message(hk(6, 20.0), hk(7, 20.0)))
    assert (event.severity, event.after, event.threshold) == (
        Severity.CRITICAL, "CRITICAL_LOW", "below 22 V",
    )  # fmt: skip
    (event,) = limits(decoder, message(hk(8, 28.0), hk(9, 28.0)))
    assert (event.severity, event.after, event.threshold) == (Severity.INFO, "NOMINAL", "")


def test_what_the_sample_leaves_out_has_no_rows_and_changes_no_state() -> None:
    # One message's packets share their second: the first of each definition is in the sample.
    decoder = Decoder(DICTIONARY, sampler=Sampler(1))
    decoded = decoder.decode(message(fast(0, 28.0), hk(1, 29.0), fast(2, 21.0), first=100))
    tables = {table.definition: table for table in decoded.tables}
    assert {name: table.packet.tolist() for name, table in tables.items()} == {
        "HK_FAST": [100], "HK": [101],
    }  # fmt: skip
    assert decoder.counts["packets"] == 3
    again = Decoder(DICTIONARY, sampler=Sampler(1))
    again.restore(decoder.snapshot())
    assert again.decode(message(fast(0, 28.0))).tables == ()
    assert limits(Decoder(DICTIONARY, sampler=Sampler(1)), message(*[fast(0, 21.0)] * 9)) == []


def test_definitions_of_one_message_are_taken_in_order_of_scet() -> None:
    # By definition it would be 28, 28 and then 33, 33: a transition that did not happen.
    decoder = Decoder(DICTIONARY)
    assert limits(decoder, message(hk(0, 28.0), fast(1, 33.0), hk(2, 28.0), fast(3, 33.0))) == []


def test_stored_packets_are_decoded_and_raise_no_alarm() -> None:
    decoder = Decoder(DICTIONARY)
    decoded = decoder.decode(message(hk(0, 10.0, "SAFE"), hk(1, 10.0, "SAFE"), playback=True))
    assert decoded.events == ()
    assert decoded.tables[0].playback.tolist() == [True, True]
    assert decoded.tables[0].column("VOLTAGE").limit_state.tolist() == [LimitState.CRITICAL_LOW] * 2
    # Nor do they make live data look stale or fresh, or spoil its persistence.
    assert decoder.staleness.rhythms == {}
    assert limits(decoder, message(hk(2, 10.0)), message(hk(0, 28.0), playback=True)) == []
    assert [e.name for e in limits(decoder, message(hk(3, 10.0)))] == ["VOLTAGE"]


def test_states_and_repeated_values_have_limits_too() -> None:
    decoder = Decoder(DICTIONARY)
    (event,) = limits(decoder, message(hk(0, 28.0, "SAFE")))
    assert (event.name, event.after, event.value, event.threshold) == (
        "MODE", "CRITICAL", "SAFE", "",
    )  # fmt: skip
    science = {"SCET": T0, "N": 3, "FLUX": [1, 200, 3]}
    (event,) = limits(decoder, message(DICTIONARY.encode("SCI", science)))
    assert (event.name, event.value, event.after) == ("FLUX", "[1 200 3]", "WARNING_HIGH")


def test_packets_without_a_definition_or_of_wrong_length_are_counted() -> None:
    decoder = Decoder(DICTIONARY)
    unknown = bytes([0x08 | 7 >> 8, 99, 0xC0, 0, 0, 0, 1])
    decoded = decoder.decode(message(hk(0, 28.0)[:-1], unknown, hk(0, 28.0)))
    assert [len(table) for table in decoded.tables] == [1]
    assert decoder.counts["undefined"] == 1
    assert decoder.counts["wrong_length"] == 1
    assert decoder.counts["packets"] == 3


def test_a_mission_without_a_dictionary_decodes_nothing() -> None:
    decoded = Decoder(None).decode(message(hk(0, 28.0)))
    assert (decoded.tables, decoded.events) == ((), ())


def test_on_board_events_are_told_once_with_their_own_severity() -> None:
    decoder = Decoder(L4, ON_BOARD)
    values = {
        "SCET": T0, "EVT_ID": "BATTERY_LOW", "EVT_SEVERITY": "HIGH", "EVT_COUNT": 3,
        "EVT_TEXT": "charge 41 %",
    }  # fmt: skip
    packet = L4.encode("EVENTS", values)
    (event,) = decoder.decode(message(packet)).events
    assert (event.kind, event.severity) == (EventKind.SPACECRAFT, Severity.CRITICAL)
    assert (event.name, event.text, event.playback) == ("BATTERY_LOW", "charge 41 %", False)
    (event,) = decoder.decode(message(packet, playback=True)).events
    assert event.playback
    for label in EVENT_PACKET.severities:
        assert (
            decoder.decode(message(L4.encode("EVENTS", values | {"EVT_SEVERITY": label})))
            .events[0]
            .severity
            == EVENT_PACKET.severities[label]
        )
    # Nobody waits for the next event.
    assert decoder.silence(T0 + 10**9 * S, 0) == ()


def test_the_event_packets_are_some_of_the_dictionary() -> None:
    assert len(EVENT_PACKET.definitions) == 5
    for name in EVENT_PACKET.definitions:
        parameters = EVERYTHING.definition(name).parameters
        assert {EVENT_PACKET.identifier, EVENT_PACKET.severity, EVENT_PACKET.text} <= set(
            parameters
        )
        labels = parameters[EVENT_PACKET.severity].calibration
        assert isinstance(labels, Enumeration)
        assert {label for _, label in labels.labels} == set(EVENT_PACKET.severities)


def report(name: str, second: int, **values: Any) -> bytes:
    """A report of flight software, generated at a second."""
    header = {"SCET": T0 + second * S, "PUS_TIME_STATUS": 0, "PUS_MESSAGE_COUNT": 0}
    header |= {"PUS_DESTINATION_ID": 0, "PACKET_CRC": 0}
    return with_error_control(EVERYTHING.encode(name, {**header, **values}))


def test_flight_software_tells_events_and_refusals() -> None:
    decoder = Decoder(KnownStructures(), ON_BOARD)
    event = report(
        "EVENT_HIGH", 1, EVT_ID="CONTACT_LOST", EVT_SEVERITY="HIGH", EVT_COUNT=1, EVT_TEXT="168 h"
    )
    failure = report(
        "VERIFY_START_FAILURE", 2, VER_PACKET_ID=0x1864, VER_SEQUENCE=0xC007,
        VER_CODE="TOO_LATE", VER_DATA=b"12 s ago",
    )  # fmt: skip
    done = report("VERIFY_COMPLETION_SUCCESS", 3, VER_PACKET_ID=0x1864, VER_SEQUENCE=0xC006)
    decoded = decoder.decode(message(event, failure, done))
    told = [(e.kind, e.severity, e.name, e.text) for e in decoded.events]
    kind = EventKind.SPACECRAFT
    assert sorted(told, key=str) == sorted(
        [
            (kind, Severity.CRITICAL, "CONTACT_LOST", "168 h"),
            (
                kind,
                Severity.WARNING,
                "VERIFY_START_FAILURE",
                "request 7 of APID 100: start failed: TOO_LATE, 12 s ago",
            ),
        ],
        key=str,
    )
    assert {t.definition for t in decoded.tables} >= {"VERIFY_COMPLETION_SUCCESS", "EVENT_HIGH"}
    # They come when there is a reason.
    again = [report("VERIFY_COMPLETION_SUCCESS", n, VER_PACKET_ID=1, VER_SEQUENCE=n)
             for n in range(4, 12)]  # fmt: skip
    decoder.decode(message(*again))
    assert decoder.silence(T0 + 10**9 * S, 0) == ()


def test_a_structure_created_at_run_time_is_decoded_from_its_description_on() -> None:
    names = ["PWR_BUS_VOLTAGE", "SC_MODE"]
    described = report(
        "HK_STRUCTURE", 2, HKS_STRUCTURE=7, HKS_PERIODIC="ON", HKS_INTERVAL=60,
        HKS_PARAMETER=names, HKS_GROUPS=0,
    )  # fmt: skip
    definition = housekeeping_definition(7, names)

    def values(second: int) -> bytes:
        header = {"SCET": T0 + second * S, "PUS_TIME_STATUS": 0, "PUS_MESSAGE_COUNT": second}
        header |= {"PUS_DESTINATION_ID": 0, "PACKET_CRC": 0}
        given = {**header, "PWR_BUS_VOLTAGE": 27.9, "SC_MODE": "NOMINAL"}
        return with_error_control(Dictionary("D", (definition,)).encode("HK_7", given))

    packets = [values(1), described, values(3), values(4)]
    whole = Decoder(KnownStructures(), ON_BOARD)
    tables = whole.decode(message(*packets, first=10)).tables
    rows = [(t.definition, t.packet.tolist()) for t in tables]
    assert sorted(rows) == [("HK_7", [12, 13]), ("HK_REPORT", [10]), ("HK_STRUCTURE", [11])]
    (table,) = [t for t in tables if t.definition == "HK_7"]
    assert table.column("PWR_BUS_VOLTAGE").engineering.tolist() == pytest.approx(
        [27.9] * 2, abs=0.01
    )
    assert table.column("SC_MODE").engineering.tolist() == ["NOMINAL"] * 2

    # However it is cut, and over a restart.
    cut = Decoder(KnownStructures(), ON_BOARD)
    found: list[tuple[str, list[int]]] = []
    for at, packet in enumerate(packets, 10):
        again = Decoder(KnownStructures(), ON_BOARD)
        again.restore(msgpack.unpackb(msgpack.packb(cut.snapshot())))
        cut = again
        found += [(t.definition, t.packet.tolist())
                  for t in cut.decode(message(packet, first=at)).tables]  # fmt: skip
    assert found == [("HK_REPORT", [10]), ("HK_STRUCTURE", [11]), ("HK_7", [12]), ("HK_7", [13])]

    # A description that is damaged, or older and out of a packet store, changes nothing.
    damaged = bytearray(described)
    damaged[-3] ^= 1
    old = report(
        "HK_STRUCTURE", 0, HKS_STRUCTURE=7, HKS_PERIODIC="ON", HKS_INTERVAL=60,
        HKS_PARAMETER=names[:1], HKS_GROUPS=0,
    )  # fmt: skip
    after = whole.decode(message(bytes(damaged), old, values(5))).tables
    assert [t.definition for t in after if t.definition.startswith("HK_7")] == ["HK_7"]


def test_silence_and_return_are_told() -> None:
    decoder = Decoder(DICTIONARY)
    decoder.decode(message(*(hk(second, 28.0) for second in range(0, 50, 10))))
    assert decoder.silence(T0 + 499 * S, 0) == ()
    assert decoder.silence(T0 + 549 * S, 0) == ()
    (stale,) = decoder.silence(T0 + 600 * S, 0)
    assert (stale.kind, stale.name, stale.severity) == (EventKind.STALE, "HK", Severity.WARNING)
    (fresh,) = decoder.decode(message(hk(60, 28.0))).events
    assert (fresh.kind, fresh.name) == (EventKind.FRESH, "HK")


def test_a_restored_decoder_goes_on_as_if_nothing_had_been() -> None:
    voltages = [28.0 if t % 7 < 4 else 33.0 for t in range(40)]
    messages = [message(hk(t, v), *[fast(t, v)] * (t % 3)) for t, v in enumerate(voltages)]
    whole = Decoder(DICTIONARY)
    expected = [whole.decode(one).events for one in messages]
    assert sum(len(events) for events in expected) > 3
    cut = Decoder(DICTIONARY)
    found: list[tuple[Event, ...]] = []
    for one in messages:
        again = Decoder(DICTIONARY)
        again.restore(msgpack.unpackb(msgpack.packb(cut.snapshot())))
        cut = again
        found.append(cut.decode(one).events)
    assert found == expected
    assert cut.counts == whole.counts


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.0, "V", "1 V"),
        (np.float64(3.14159265), "", "3.14159"),
        ("SAFE", "", "SAFE"),
        (np.arange(10), "nT", "[0 1 2 3 4 5 6 7 …] nT"),
    ],
)
def test_values_for_people(value: Any, unit: str, text: str) -> None:
    assert format_value(value, unit) == text
