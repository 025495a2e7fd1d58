"""`l4 replay --parquet`: what pyarrow reads back equals what construct parses, packet by packet."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pyarrow.parquet as pq
import pytest
from construct import Int8ub, Int16ub, Int32ub

from ground.archive import parquet_sink
from ground.archive.decoding import DecodedBatch, Decoder
from ground.archive.model import NO_SCET, ColumnInfo, TableColumns
from ground.archive.parquet_sink import ParquetSink
from ground.receive.output import ChainOutput
from ground.receive.profile import load_profile
from ground.receive.replay import replay
from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch
from protocols.packets.extracted import NO_ZONES
from protocols.packets.space_packet import SpacePacket, build_packet, idle_packet
from protocols.telemetry.calibration import Enumeration, Polynomial
from protocols.telemetry.declaration import Dictionary, PacketDefinition, Parameter, Repeat

VOLTS = Polynomial((1.0, 0.5))
MODES = Enumeration({0: "SAFE", 1: "NOMINAL"})
POWER = PacketDefinition(
    "POWER",
    5,
    (
        Parameter("VOLTS", Int16ub, unit="V", calibration=VOLTS),
        Parameter("MODE", Int8ub, calibration=MODES),
    ),
)
LOG = PacketDefinition(
    "LOG", 6, (Parameter("COUNT", Int8ub), Repeat(Parameter("X", Int32ub), "COUNT"))
)
DICTIONARY = Dictionary("TEST", (POWER, LOG))


def capture(path: Path) -> list[bytes]:
    """Both kinds and idle packets in turn; the packets that are not idle."""
    packets: list[bytes] = []
    stream: list[bytes] = []
    for number in range(300):
        power = number.to_bytes(2, "big") + bytes([number % 3])
        samples = number % 4
        log = bytes([samples]) + b"".join(
            (number * 1000 + i).to_bytes(4, "big") for i in range(samples)
        )
        two = [build_packet(SpacePacket(5, power)), build_packet(SpacePacket(6, log))]
        packets += two
        stream += [*two, idle_packet(9)]
    path.write_bytes(b"".join(stream))
    return packets


def test_files_hold_every_packet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_sink, "GROUP_OCTETS", 1000)
    packets = capture(tmp_path / "c.pkt")
    with ParquetSink(tmp_path / "out", Decoder(DICTIONARY)) as sink:
        replay(tmp_path / "c.pkt", load_profile(input="packets"), ert_ns=77, sinks=[sink])
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["LOG.X.parquet", "LOG.parquet", "POWER.parquet"]
    power = pq.read_table(tmp_path / "out" / "POWER.parquet")
    rows = [POWER.construct.parse(packet) for packet in packets[::2]]
    assert power["VOLTS"].to_pylist() == [1.0 + 0.5 * row["VOLTS"] for row in rows]
    shown = {0: "SAFE", 1: "NOMINAL", 2: "#2"}
    assert power["MODE"].to_pylist() == [shown[row["MODE"]] for row in rows]
    assert power["packet"].to_pylist() == list(range(0, len(packets), 2))
    assert set(power["ert_tai_ns"].to_pylist()) == {77}
    # No time code is declared: there is no SCET to be shown.
    assert "scet" not in power.column_names
    assert power.schema.field("VOLTS").metadata[b"unit"] == b"V"
    samples = pq.read_table(tmp_path / "out" / "LOG.X.parquet")
    logs = [LOG.construct.parse(packet) for packet in packets[1::2]]
    assert samples["X"].to_pylist() == [x for log in logs for x in log["X"]]
    owner = np.repeat(np.arange(1, len(packets), 2), [log["COUNT"] for log in logs])
    assert samples["packet"].to_pylist() == owner.tolist()


def test_a_replay_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    capture(tmp_path / "c.pkt")
    sink = ParquetSink(tmp_path / "out", Decoder(DICTIONARY))

    def refuse(_: object) -> None:
        raise LocalError("stopped")

    profile = load_profile(input="packets")
    with pytest.raises(LocalError, match="stopped"), sink:
        replay(tmp_path / "c.pkt", profile, sinks=[sink], progress=refuse)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_definition_that_changes_goes_on_in_a_file_of_its_own(tmp_path: Path) -> None:
    """And packets whose time code is no time do not cost the others theirs."""
    packets = PacketBatch.from_packets([build_packet(SpacePacket(5, b"12"))])

    class Changing:
        """What a decoder gives whose dictionary changes in flight."""

        def __init__(self) -> None:
            self.tables = iter(TABLES)

        def decode(self, packets: PacketBatch) -> DecodedBatch:
            scet_ns, columns = next(self.tables)
            rows, scet = np.zeros(1, np.int64), np.array([scet_ns], np.int64)
            info = {name: ColumnInfo() for name in columns}
            return DecodedBatch(scet, [TableColumns("HK/7", rows, scet, columns, info=info)])

    with ParquetSink(tmp_path, cast(Decoder, Changing())) as sink:
        for _ in TABLES:
            sink.take(ChainOutput(packets, NO_ZONES, [], 1), None)
            sink._write()
        sink.finish(None)
    first, second = (pq.ParquetFile(tmp_path / name).read() for name in sink.rows)
    assert list(sink.rows.items()) == [("HK_7.parquet", 3), ("HK_7~2.parquet", 1)]
    assert first["VOLTS"].to_pylist() == [1, 2, 4]
    assert first["scet_tai_ns"].to_pylist() == [10**18, NO_SCET, 10**18 + 4]
    assert first["scet"].to_pylist()[1] is None
    assert second["AMPERES"].to_pylist() == [3]


TABLES = [
    (10**18, {"VOLTS": np.array([1])}),
    (NO_SCET, {"VOLTS": np.array([2])}),
    (10**18 + 3, {"VOLTS": np.array([3]), "AMPERES": np.array([3])}),
    (10**18 + 4, {"VOLTS": np.array([4])}),
]
