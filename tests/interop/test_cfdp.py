"""Files between our entity and cfdp-py's own, unchanged; our PDUs as tshark reads them.

cfdp-py's handlers are given nothing of ours but the time, where they ask for it.  Through losses
they have faults of their own that `protocols/files` has not (its modules list them): the Metadata
PDU is spared where they receive.
"""

from __future__ import annotations

import contextlib
import random
import struct
import subprocess
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import spacepackets.countdown
from cfdppy.exceptions import PduIgnoredForDest, PduIgnoredForSource
from cfdppy.filestore import NativeFilestore
from cfdppy.handler.common import PacketDestination, get_packet_destination
from cfdppy.handler.dest import DestHandler
from cfdppy.handler.source import SourceHandler
from cfdppy.handler.source import TransactionStep as SourceStep
from cfdppy.mib import (
    CheckTimerProvider,
    DefaultFaultHandlerBase,
    IndicationConfig,
    LocalEntityConfig,
    RemoteEntityConfig,
    RemoteEntityConfigTable,
)
from cfdppy.request import PutRequest
from cfdppy.user import CfdpUserBase
from spacepackets.cfdp.defs import ChecksumType, TransmissionMode
from spacepackets.cfdp.pdu import DirectiveType, PduFactory
from spacepackets.countdown import Countdown
from spacepackets.seqcount import SeqCountProvider
from spacepackets.util import ByteFieldU8

from protocols.files.entity import FileEntity, new_peer
from protocols.files.records import MemoryStore, State
from tests.protocols.files.air import OWLT_NS, Air, S

OURS, THEIRS = 10, 33
LONGEST = 1_000


class _User(CfdpUserBase):
    def __init__(self) -> None:
        super().__init__(NativeFilestore())
        self.finished: list[Any] = []

    def transaction_finished_indication(self, params: Any) -> None:
        self.finished.append(params)

    def _quiet(self, *_: Any) -> None:
        pass

    transaction_indication = eof_sent_indication = metadata_recv_indication = _quiet
    file_segment_recv_indication = report_indication = suspended_indication = _quiet
    resumed_indication = fault_indication = abandoned_indication = eof_recv_indication = _quiet


class _Faults(DefaultFaultHandlerBase):
    def _raise(self, *what: Any) -> None:
        raise AssertionError(f"cfdp-py gave up: {what}")

    def ignore_cb(self, *_: Any) -> None:
        pass

    notice_of_suspension_cb = notice_of_cancellation_cb = abandoned_cb = _raise


class _Checks(CheckTimerProvider):
    def provide_check_timer(self, *_: Any) -> Countdown:
        return Countdown.from_seconds(1_100)


class TheirEntity:
    """cfdp-py's two handlers on a link; `put`: a file that it sends."""

    def __init__(self, clock: dict[str, int]) -> None:
        self._clock = clock
        self.user = _User()
        local = LocalEntityConfig(ByteFieldU8(THEIRS), IndicationConfig(), _Faults())
        remote = RemoteEntityConfig(
            entity_id=ByteFieldU8(OURS),
            max_file_segment_len=None,
            max_packet_len=LONGEST,
            closure_requested=False,
            crc_on_transmission=False,
            default_transmission_mode=TransmissionMode.ACKNOWLEDGED,
            crc_type=ChecksumType.CRC_32C,
            positive_ack_timer_interval_seconds=1_100,
            positive_ack_timer_expiration_limit=20,
            nak_timer_interval_seconds=1_100,
            nak_timer_expiration_limit=20,
        )
        table = RemoteEntityConfigTable([remote])
        self.source = SourceHandler(local, self.user, table, _Checks(), SeqCountProvider(16))
        self.dest = DestHandler(local, self.user, table, _Checks())
        self._out: deque[bytes] = deque()
        self._busy = False

    def put(self, source: Path, name: str, *, class_: int) -> None:
        mode = TransmissionMode.ACKNOWLEDGED if class_ == 2 else TransmissionMode.UNACKNOWLEDGED
        self._busy = self.source.put_request(
            PutRequest(ByteFieldU8(OURS), source, Path(name), mode, closure_requested=False)
        )

    def _turn(self, handler: SourceHandler | DestHandler, pdu: Any = None) -> None:
        with contextlib.suppress(PduIgnoredForDest, PduIgnoredForSource):
            handler.state_machine(pdu)
        while (holder := handler.get_next_packet()) is not None:
            assert holder.pdu is not None
            self._out.append(bytes(holder.pdu.pack()))

    def hear(self, now_ns: int, pdus: Sequence[bytes]) -> None:
        self._clock["now_ns"] = now_ns
        for octets in pdus:
            pdu = PduFactory.from_raw(octets)
            assert pdu is not None
            to_dest = get_packet_destination(pdu) is PacketDestination.DEST_HANDLER
            self._turn(self.dest if to_dest else self.source, pdu)

    def take(self, now_ns: int, room: int) -> list[bytes]:
        self._clock["now_ns"] = now_ns
        out: list[bytes] = []
        self._turn(self.dest)
        self._turn(self.source)
        while self._out and len(self._out[0]) <= room:
            out.append(self._out.popleft())
            room -= len(out[-1])
            if not self._out and self.source.step in (
                SourceStep.SENDING_METADATA,
                SourceStep.SENDING_FILE_DATA,
            ):
                self._turn(self.source)
        return out

    @property
    def waiting(self) -> bool:
        return bool(self._out) or (self.source.step is SourceStep.IDLE and self.source.state.value)

    @property
    def next_deadline_ns(self) -> int | None:
        active = self.source.state.value or self.dest.state.value
        return self._clock["now_ns"] + 60 * S if active else None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What cfdp-py takes for the time of day."""
    value = {"now_ns": 0}
    monkeypatch.setattr(spacepackets.countdown, "time_ms", lambda: value["now_ns"] // 1_000_000)
    return value


class Meeting(Air):
    def __init__(self, clock: dict[str, int], **options: Any) -> None:
        self.store = MemoryStore(Path)

        def ours(now_ns: int) -> FileEntity:
            peer = new_peer(THEIRS, owlt_ns=OWLT_NS, longest_pdu=LONGEST)
            return FileEntity(OURS, [peer], self.store, now_ns)

        super().__init__([ours, lambda _: TheirEntity(clock)], **options)

    @property
    def ours(self) -> FileEntity:
        return self.ends[0]  # type: ignore[return-value]

    @property
    def theirs(self) -> TheirEntity:
        return self.ends[1]  # type: ignore[return-value]


def metadata_spared(pair: Meeting, loss: float, seed: int) -> None:
    rng = random.Random(seed)
    pair._drop = lambda side, pdu: (  # type: ignore[method-assign]
        rng.random() < loss and PduFactory.pdu_directive_type(pdu) is not DirectiveType.METADATA_PDU
    )


@pytest.mark.parametrize("class_", [1, 2])
@pytest.mark.parametrize("size", [0, 100_000])
def test_ours_to_theirs(clock: dict[str, int], tmp_path: Path, size: int, class_: int) -> None:
    pair = Meeting(clock)
    data = random.Random(1).randbytes(size)
    pair.store.files["data"] = data
    # cfdp-py takes the name as a path, as it is; ours refuse an absolute one to put or send.
    target = tmp_path / "copy"
    key = pair.ours.put(0, "data", "copy", peer=THEIRS, class_=class_)
    pair.ours._records[key].dest_name = str(target)
    record = pair.ours._records[key]
    pair.store.save(record)
    pair.ends[0] = pair._makers[0](0)
    assert pair.run(lambda: bool(pair.theirs.user.finished) and pair.ours.records()[0].state.ended)
    assert target.read_bytes() == data
    assert pair.ours.records()[0].state is State.COMPLETE


@pytest.mark.parametrize("class_", [1, 2])
@pytest.mark.parametrize("size", [0, 100_000])
def test_theirs_to_ours(clock: dict[str, int], tmp_path: Path, size: int, class_: int) -> None:
    pair = Meeting(clock)
    data = random.Random(1).randbytes(size)
    (tmp_path / "data").write_bytes(data)
    pair.theirs.put(tmp_path / "data", "copy", class_=class_)
    assert pair.run(lambda: any(one.state.ended for one in pair.ours.records()))
    assert pair.store.files == {"copy": data}
    assert pair.theirs.user.finished


def test_through_loss_both_ways(clock: dict[str, int], tmp_path: Path) -> None:
    for seed in range(5):
        pair = Meeting(clock, seed=seed)
        metadata_spared(pair, 0.1, seed)
        up, down = random.Random(seed).randbytes(100_000), random.Random(-seed).randbytes(100_000)
        pair.store.files["up"] = up
        (tmp_path / "down").write_bytes(down)
        target = tmp_path / f"up{seed}"
        key = pair.ours.put(0, "up", "up", peer=THEIRS)
        pair.ours._records[key].dest_name = str(target)
        pair.store.save(pair.ours._records[key])
        pair.ends[0] = pair._makers[0](0)
        pair.theirs.put(tmp_path / "down", "down", class_=2)

        def ended(pair: Meeting = pair) -> bool:
            states = [one.state.ended for one in pair.ours.records()]
            return states == [True, True] and len(pair.theirs.user.finished) == 2

        assert pair.run(ended), seed
        assert target.read_bytes() == up, seed
        assert pair.store.files["down"] == down, seed
        assert {one.state for one in pair.ours.records()} == {State.COMPLETE}, seed


def test_a_file_asked_for_by_proxy(clock: dict[str, int]) -> None:
    """Their user sees the request as theirs reads it."""
    pair = Meeting(clock)
    heard: list[Any] = []
    pair.theirs.user.metadata_recv_indication = heard.append  # type: ignore[method-assign]
    pair.ours.get(0, "log/x.txt", "x.txt", peer=THEIRS, class_=1)
    assert pair.run(lambda: bool(heard))
    put, mode = [message.to_reserved_msg_tlv() for message in heard[0].msgs_to_user]
    params = put.get_proxy_put_request_params()
    assert (params.source_file_as_str, params.dest_file_as_str) == ("log/x.txt", "x.txt")
    assert params.dest_entity_id.value == OURS
    assert mode.get_proxy_transmission_mode() is TransmissionMode.UNACKNOWLEDGED


# tshark ------------------------------------------------------------------------------------------

_FIELDS = (
    "cfdp.pdu_type", "cfdp.direction", "cfdp.trans_mode", "cfdp.crc_flag", "cfdp.data_length",
    "cfdp.srcid", "cfdp.transeqnum", "cfdp.dstid", "cfdp.fdtype", "cfdp.offset", "cfdp.file_size",
    "cfdp.src_file_name", "cfdp.dst_file_name", "cfdp.nak_st_scope", "cfdp.nak_sp_scope",
    "cfdp.checksum", "cfdp.dir_code_ack", "cfdp.bad_length", "_ws.malformed",
)  # fmt: skip


def as_tshark_reads(pdus: Sequence[bytes], path: Path) -> list[dict[str, str]]:
    records = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147)]
    records += [struct.pack("<IIII", 0, 0, len(pdu), len(pdu)) + pdu for pdu in pdus]
    path.write_bytes(b"".join(records))
    run = subprocess.run(
        [
            "tshark", "-r", str(path), "-T", "fields",
            "-o", 'uat:user_dlts:"User 0 (DLT=147)","cfdp","0","","0",""',
            *(option for name in _FIELDS for option in ("-e", name)),
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )  # fmt: skip
    lines = run.stdout.decode().split("\n")[: len(pdus)]
    return [dict(zip(_FIELDS, line.split("\t"), strict=True)) for line in lines]


@pytest.mark.program("tshark")
def test_our_pdus_as_tshark_reads_them(tmp_path: Path) -> None:
    stores = (MemoryStore(Path), MemoryStore(Path))
    stores[0].files["data.bin"] = random.Random(3).randbytes(20_000)

    def maker(side: int) -> Any:
        peer = ((THEIRS, OURS)[side], (OURS, THEIRS)[side])
        return lambda now_ns: FileEntity(
            peer[1], [new_peer(peer[0], owlt_ns=OWLT_NS, longest_pdu=LONGEST)], stores[side], now_ns
        )

    pair = Air([maker(0), maker(1)], loss=0.1, seed=4)
    pair.ends[0].put(0, "data.bin", "in/copy.bin", peer=THEIRS)  # type: ignore[attr-defined]
    assert pair.run(lambda: stores[1].files != {})
    sent = pair.log[0] + pair.log[1]
    rows = as_tshark_reads(sent, tmp_path / "cfdp.pcap")
    kinds = set()
    for pdu, row in zip(sent, rows, strict=True):
        parsed = PduFactory.from_raw(pdu)
        assert parsed is not None
        assert not row["_ws.malformed"], row
        assert not row["cfdp.bad_length"], row
        numbers = {name: _number(text) for name, text in row.items() if text}
        assert numbers["cfdp.pdu_type"] == parsed.pdu_type
        assert numbers["cfdp.direction"] == parsed.direction
        assert numbers["cfdp.trans_mode"] == parsed.transmission_mode
        assert numbers["cfdp.crc_flag"] == 1
        assert numbers["cfdp.data_length"] == len(pdu) - 10
        assert (numbers["cfdp.srcid"], numbers["cfdp.dstid"]) == (OURS, THEIRS)
        assert numbers["cfdp.transeqnum"] == 1
        kind = PduFactory.pdu_directive_type(pdu)
        kinds.add(kind)
        if kind is None:
            assert numbers["cfdp.offset"] == parsed.offset  # type: ignore[union-attr]
            continue
        assert numbers["cfdp.fdtype"] == kind
        if kind is DirectiveType.METADATA_PDU:
            assert row["cfdp.src_file_name"] == "data.bin"
            assert row["cfdp.dst_file_name"] == "in/copy.bin"
            assert numbers["cfdp.file_size"] == 20_000
        elif kind is DirectiveType.EOF_PDU:
            assert numbers["cfdp.file_size"] == 20_000
            assert numbers["cfdp.checksum"] == int.from_bytes(parsed.file_checksum, "big")  # type: ignore[union-attr]
        elif kind is DirectiveType.NAK_PDU:
            assert numbers["cfdp.nak_st_scope"] == parsed.start_of_scope  # type: ignore[union-attr]
            assert numbers["cfdp.nak_sp_scope"] == parsed.end_of_scope  # type: ignore[union-attr]
    assert kinds >= {
        None,
        DirectiveType.METADATA_PDU,
        DirectiveType.EOF_PDU,
        DirectiveType.NAK_PDU,
        DirectiveType.ACK_PDU,
        DirectiveType.FINISHED_PDU,
    }


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return {"True": 1, "False": 0}.get(text, -1)
