"""What the archive keeps of decoded packets, against packets decoded one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from construct import Bytes, Float32b, Int8ub, Int16sb, Int16ub, this

from ground.archive.decoding import Decoder
from ground.archive.model import NO_SCET
from ground.archive.store import ArchiveStore
from protocols.dictionary.l4_structures import KnownStructures, with_structures
from protocols.packets.batch import PacketBatch
from protocols.packets.pus import with_error_control
from protocols.telemetry.calibration import Enumeration, Polynomial, Text
from protocols.telemetry.declaration import Dictionary, PacketDefinition, Parameter, Repeat
from protocols.telemetry.sampling import Sampler
from protocols.timecodes.cuc import CucFormat

S = 1_000_000_000
T0 = 2_170_000_000 * S

DICTIONARY = Dictionary(
    "TEST",
    (
        PacketDefinition(
            "ALL",
            16,
            (
                Parameter("TIME", CucFormat(4, 3)),
                Parameter("VOLTS", Int16ub, "V", Polynomial((0.0, 0.001)), None, "bus voltage"),
                Parameter("TEMP", Int16sb, "degC"),
                Parameter("MODE", Int8ub, "", Enumeration({0: "SAFE", 1: "NOMINAL"})),
                Parameter("NAME", Bytes(4), "", Text()),
                Parameter("DUMP", Bytes(3)),
                Repeat((Parameter("FLUX", Float32b, "1/s"),), count=3),
                Parameter("N", Int8ub),
                Repeat((Parameter("BX", Int16sb, "nT"), Parameter("BY", Int16sb)), count=this.N),
            ),
            time="TIME",
        ),
        PacketDefinition("UNTIMED", 17, (Parameter("COUNT", Int8ub),)),
        PacketDefinition(
            "LINE",
            18,
            (Parameter("LENGTH", Int8ub), Parameter("TEXT", Bytes(this.LENGTH), "", Text())),
        ),
    ),
)


def packets(n: int) -> tuple[PacketBatch, list[dict]]:
    rows, octets = [], []
    for i in range(n):
        values = {
            "TIME": T0 + i * S,
            "VOLTS": 28_000 + i,
            "TEMP": -5 - i,
            "MODE": i % 3,
            "NAME": b"AB\0\0" if i % 2 else b"CDEF",
            "DUMP": b"\1\2\3",
            "FLUX": [i + 0.5, i * 2.0, -1.0],
            "BX": [i * 10 + k for k in range(i % 4)],
            "BY": [-k for k in range(i % 4)],
        }
        rows.append(values)
        octets.append(DICTIONARY.encode("ALL", values, sequence_count=i, raw=True))
    octets.append(DICTIONARY.encode("UNTIMED", {"COUNT": 9}, raw=True))
    octets.append(DICTIONARY.encode("LINE", {"TEXT": b"hello"}, raw=True))
    octets.append(b"\x00\x7b\xc0\x00\x00\x00\x00")  # APID of no definition
    octets.append(octets[0][:-1])  # shorter than its definition
    ert = T0 + 500 * S + np.arange(len(octets))
    return PacketBatch.from_packets(octets, vcid=0, ert_ns=ert.tolist()), rows


@pytest.fixture
def stored(tmp_path: Path):
    batch, rows = packets(20)
    decoder = Decoder(DICTIONARY)
    with ArchiveStore.open(tmp_path / "a.sqlite") as store:
        for low, high in ((0, 7), (7, len(batch))):
            part = batch.slice(low, high)
            decoded = decoder.decode(part)
            store.append(
                None,
                part,
                stream="s",
                scet_ns=decoded.scet_ns,
                reception_ns=1,
                tables=decoded.tables,
            )
        yield store, rows, decoder


def test_every_kind_of_parameter(stored):
    store, rows, decoder = stored
    n = len(rows)
    volts = store.query("VOLTS")
    assert volts.scet_ns.tolist() == [T0 + i * S for i in range(n)]
    assert volts.values.tolist() == pytest.approx([28 + i / 1000 for i in range(n)])
    assert volts.packet.tolist() == list(range(1, n + 1))
    assert store.query("TEMP").values.tolist() == [row["TEMP"] for row in rows]
    assert store.query("TEMP").values.dtype == np.int16
    assert store.query("MODE").texts() == [("SAFE", "NOMINAL", "#2")[i % 3] for i in range(n)]
    assert store.query("NAME").texts() == ["AB" if i % 2 else "CDEF" for i in range(n)]
    for k in range(3):
        assert store.query(f"FLUX[{k}]").values.tolist() == [row["FLUX"][k] for row in rows]
    for name in ("BX", "BY"):
        samples = store.query(name)
        assert samples.values.tolist() == [value for row in rows for value in row[name]]
        assert samples.packet.tolist() == [i + 1 for i in range(n) for _ in rows[i][name]]
    assert store.query("TEXT").texts() == ["hello"]
    info = {one.name: one for one in store.parameters()}
    assert sorted(info) == sorted(
        ["VOLTS", "TEMP", "MODE", "NAME", "N", "BX", "BY", "COUNT", "LENGTH", "TEXT"]
        + [f"FLUX[{k}]" for k in range(3)]
    )
    assert (info["VOLTS"].unit, info["VOLTS"].description) == ("V", "bus voltage")
    assert (info["FLUX[1]"].unit, info["BX"].unit) == ("1/s", "nT")
    assert info["MODE"].kind == "enumeration"
    assert decoder.counts == {"undefined": 1, "wrong_length": 1}
    assert store.integrity().ok


def test_packets_that_give_no_parameters_are_kept(stored):
    store, rows, _ = stored
    found = list(store.packets())
    assert len(found) == len(rows) + 4
    assert [packet.scet_ns for packet in found[-4:]] == [None] * 4
    # Without a time code on board, samples stand at their arrival.
    count = store.query("COUNT")
    assert count.scet_ns.tolist() == count.ert_ns.tolist() == [found[-4].ert_ns]


def test_without_a_dictionary_packets_alone_are_archived():
    batch, _ = packets(3)
    decoded = Decoder(None).decode(batch)
    assert decoded.tables == []
    assert set(decoded.scet_ns.tolist()) == {NO_SCET}


def test_a_sampler_leaves_out_parameters_but_no_packets() -> None:
    batch, _ = packets(20)
    whole, sample = Decoder(DICTIONARY).decode(batch), Decoder(DICTIONARY, sampler=Sampler(1))
    decoded = sample.decode(batch)
    # All of the batch came within a second: one packet of each definition.
    rows = [table.rows for table in decoded.tables if table.rows is not None]
    assert {len(np.unique(found)) for found in rows if len(found)} == {1}
    assert {t.definition for t in decoded.tables} == {t.definition for t in whole.tables}
    assert len(decoded.scet_ns) == len(batch)
    assert decoded.scet_ns[0] == whole.scet_ns[0]
    assert (decoded.scet_ns[1:20] == NO_SCET).all()


def test_housekeeping_structures_are_learnt_and_remembered() -> None:
    names = ("PWR_BUS_VOLTAGE", "SC_MODE")
    header = {"SCET": T0, "PUS_TIME_STATUS": 0, "PUS_MESSAGE_COUNT": 0, "PUS_DESTINATION_ID": 0}
    said = {
        "HKS_STRUCTURE": 7,
        "HKS_PERIODIC": "ON",
        "HKS_INTERVAL": 9,
        "HKS_PARAMETER": names,
        "HKS_GROUPS": 0,
    }
    whole = with_structures({7: names})
    report = {**header, "PACKET_CRC": 0, "PWR_BUS_VOLTAGE": 27.9, "SC_MODE": "SAFE"}
    values = with_error_control(whole.encode("HK_7", report))
    described = with_error_control(whole.encode("HK_STRUCTURE", {**header, "PACKET_CRC": 0} | said))
    decoder = Decoder(KnownStructures())
    found = decoder.decode(PacketBatch.from_packets([values, described, values]))
    rows = {table.definition: table.rows.tolist() for table in found.tables}
    assert (rows["HK_REPORT"], rows["HK_STRUCTURE"], rows["HK_7"]) == ([0], [1], [2])
    assert found.scet_ns.tolist() == [T0] * 3
    again = Decoder(KnownStructures())
    again.restore(json.loads(json.dumps(decoder.snapshot())))
    (table,) = again.decode(PacketBatch.from_packets([values])).tables
    assert table.columns["PWR_BUS_VOLTAGE"] == pytest.approx([27.9], abs=0.01)
