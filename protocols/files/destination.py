"""The receiver of one file: cfdp-py's destination handler on our clock, through loss and restarts.

What is changed of cfdp-py 0.7, and why:

- timers are ours (`timers.py`);
- each transaction has its own list of lost segments: cfdp-py's default is one object for all that
  are received at once; ours also takes retransmissions that are cut otherwise;
- every EOF is acknowledged (§4.7.2), also one that comes again because the acknowledgement was
  lost, and an EOF (cancel) is heard while data are missing: cfdp-py looks at neither then;
- data that come before metadata are kept: cfdp-py throws them away, asks for all of the file again
  at each of them, and forgets the checksum of an EOF;
- the checksum is looked at when nothing was lost, too;
- NAKs of gaps seen in one go share PDUs;
- a Finished PDU that is never acknowledged ends the transaction as it was: cfdp-py would call a
  file that is complete cancelled, and go on for ever;
- inactivity, which it lacks;
- it can begin in the middle, after a restart.
"""

# cfdp-py and spacepackets are annotated, but without py.typed.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from cfdppy.defs import CfdpState
from cfdppy.exceptions import InvalidPduDirection, PduIgnoredForDest
from cfdppy.handler.dest import (
    CompletionDisposition,
    DestHandler,
    FsmResult,
    LostSegmentTracker,
    TransactionStep,
)
from spacepackets.cfdp.defs import ConditionCode, FileStatus
from spacepackets.cfdp.pdu import EofPdu, FileDataPdu, FinishedPdu, MetadataPdu, NakPdu
from spacepackets.cfdp.pdu.helper import GenericPduPacket
from spacepackets.cfdp.pdu.nak import get_max_seg_reqs_for_max_packet_size_and_pdu_cfg

from protocols.files.listening import CHECKSUMS
from protocols.files.machine import Machine, timer
from protocols.files.pdus import Peer, parse_pdu
from protocols.files.records import Record, TransferStore
from protocols.files.spans import Spans, add, gaps, remove
from protocols.files.timers import Timer, TransactionClock

_EOF_KNOWN = (TransactionStep.WAITING_FOR_MISSING_DATA, TransactionStep.WAITING_FOR_FINISHED_ACK)
_ASKING = (TransactionStep.WAITING_FOR_METADATA, TransactionStep.WAITING_FOR_MISSING_DATA)


class LostSegments(LostSegmentTracker):
    """Sorted and disjoint at all times; a removal may overlap anything."""

    def add_lost_segment(self, lost_seg: tuple[int, int]) -> None:
        add(self.lost_segments, *lost_seg)

    def remove_lost_segment(self, segment_to_remove: tuple[int, int]) -> bool:
        return remove(self.lost_segments, *segment_to_remove)

    def coalesce_lost_segments(self) -> None:
        """They are."""


class Destination(Machine, DestHandler):
    """record: with what was received of directives, if anything was; the store knows the data."""

    def __init__(
        self, record: Record, local: int, peer: Peer, store: TransferStore, clock: TransactionClock
    ) -> None:
        self.prepare(record, local, peer, store, clock)
        DestHandler.__init__(self, self.local, self.listener, self.remotes, self.checks)
        #: Asked for in the next NAK PDU; (0, 0) is the metadata.
        self._requests: Spans = []
        self._metadata_asked = False

    def restore(self) -> None:
        """As it was when the entity was lost: what was acknowledged is acknowledged again."""
        record = self.record
        if record.finished:
            finished = parse_pdu(record.finished)
            assert isinstance(finished, FinishedPdu)
            self._common_first_packet_handler(finished)
            self._params.finished_params = finished.finished_params
            self.states.step = TransactionStep.SENDING_FINISHED_PDU
            self.state_machine()
            self._drain()
            return
        if record.metadata:
            self.state_machine(parse_pdu(record.metadata))
        elif record.first:
            self._common_first_packet_not_metadata_pdu_handler(parse_pdu(record.first))
        self._drain()
        spans = self.store.spans(record.key)
        if spans and self.state is CfdpState.BUSY:
            end = spans[-1][1]
            acked = self._params.acked_params
            self._params.fp.progress = end
            acked.last_start_offset = acked.last_end_offset = end
            for gap in gaps(spans, end):
                acked.lost_seg_tracker.add_lost_segment(gap)
        if record.eof and self.state is CfdpState.BUSY:
            self.hear(parse_pdu(record.eof), record.eof)
        if record.cancelled and self.state is CfdpState.BUSY:
            self.cancel()

    # Ways out -----------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        return self.state is CfdpState.IDLE

    @property
    def waiting(self) -> bool:
        return bool(self.out or self._requests)

    def next_pdu(self, room: int) -> bytes | None:
        if not self.out and self._requests:
            self.out.append(self._nak())
        if not self.out or len(self.out[0]) > room:
            return None
        pdu = self.out.popleft()
        if not self.waiting:
            self.left()
        return pdu

    def left(self) -> None:
        for running in (
            self._params.acked_params.procedure_timer,
            self._params.positive_ack_params.ack_timer,
        ):
            if running is not None:
                running.reset()

    def _nak(self) -> bytes:
        most = get_max_seg_reqs_for_max_packet_size_and_pdu_cfg(
            self.peer.longest_pdu, self._params.pdu_conf
        )
        requests, self._requests = self._requests[:most], self._requests[most:]
        start = min(start for start, _ in requests)
        end = max(end for _, end in requests)
        return bytes(NakPdu(self._params.pdu_conf, start, end, requests).pack())

    def _add_packet_to_be_sent(self, packet: GenericPduPacket) -> None:
        if isinstance(packet, NakPdu):
            self._requests += [one for one in packet.segment_requests if one not in self._requests]
        else:
            super()._add_packet_to_be_sent(packet)

    def _drain(self) -> None:
        while (holder := self.get_next_packet()) is not None:
            assert holder.pdu is not None
            octets = bytes(holder.pdu.pack())
            if isinstance(holder.pdu, FinishedPdu):
                # What is missing no longer matters.
                self._requests.clear()
                self.record.finished = octets
            self.out.append(octets)

    # Ways in ------------------------------------------------------------------------------------

    def hear(self, pdu: GenericPduPacket, octets: bytes) -> bool:
        """Whether the PDU meant anything now."""
        self.heard()
        record = self.record
        try:
            if isinstance(pdu, EofPdu) and self.step in _EOF_KNOWN:
                self._eof_again(pdu)
            else:
                self.state_machine(pdu)
        except (PduIgnoredForDest, InvalidPduDirection):
            return False
        finally:
            self._drain()
        if isinstance(pdu, MetadataPdu):
            record.metadata = record.metadata or octets
        elif isinstance(pdu, EofPdu):
            record.eof = octets
        if not record.first and not record.metadata:
            record.first = octets
        return True

    def _eof_again(self, eof: EofPdu) -> None:
        cancels = eof.condition_code is not ConditionCode.NO_ERROR
        if cancels and self.step is TransactionStep.WAITING_FOR_MISSING_DATA:
            self._handle_eof_pdu(eof)
            self._drain()
            self.state_machine()
        else:
            self._prepare_eof_ack_packet()

    def cancel(self) -> None:
        """Nothing, if the file is here or cancelled already."""
        transaction = self.transaction_id
        if transaction is None or self.step is TransactionStep.WAITING_FOR_FINISHED_ACK:
            return
        self.record.cancelled = True
        self.out.clear()
        if self.cancel_request(transaction):
            self.state_machine()
            self._drain()

    # Time ---------------------------------------------------------------------------------------

    def deadlines(self) -> list[int]:
        if self.waiting or self.done:
            return []
        acked = self._params.acked_params
        running = None
        if self.step in _ASKING and acked.deferred_lost_segment_detection_active:
            running = acked.procedure_timer
        elif self.step is TransactionStep.RECV_FILE_DATA_WITH_CHECK_LIMIT_HANDLING:
            running = self._params.check_timer
        elif self.step is TransactionStep.WAITING_FOR_FINISHED_ACK:
            running = self._params.positive_ack_params.ack_timer
        found = (
            [self.inactive_ns] if self.step is not TransactionStep.WAITING_FOR_FINISHED_ACK else []
        )
        if isinstance(running, Timer):
            found.append(running.deadline_ns)
        return found

    def tick(self) -> None:
        if self.waiting or self.done:
            return
        waits = self.step is TransactionStep.WAITING_FOR_FINISHED_ACK
        if not waits and self.clock.now_ns >= self.inactive_ns:
            self.heard()
            self._declare_fault(ConditionCode.INACTIVITY_DETECTED)
        self.state_machine()
        self._drain()

    # cfdp-py's procedures -----------------------------------------------------------------------

    def _common_first_packet_handler(self, pdu: GenericPduPacket) -> bool | None:
        found = super()._common_first_packet_handler(pdu)
        self._params.acked_params.lost_seg_tracker = LostSegments()
        return found

    def _init_vfs_handling(self, source_base_name: str) -> None:
        params = self._params
        record = self.record
        record.source_name = source_base_name
        record.dest_name = params.fp.file_name.as_posix()
        record.size = params.fp.file_size or 0
        if params.checksum_type not in CHECKSUMS:
            params.finished_params.file_status = FileStatus.DISCARDED_DELIBERATELY
            self._notice_of_cancellation(ConditionCode.UNSUPPORTED_CHECKSUM_TYPE)
            return
        if self.store.accept(record.key, record.dest_name, record.size):
            params.finished_params.file_status = FileStatus.DISCARDED_FILESTORE_REJECTION
            self._declare_fault(ConditionCode.FILESTORE_REJECTION)
            return
        params.finished_params.file_status = FileStatus.FILE_RETAINED

    def _handle_metadata_packet(self, metadata_pdu: MetadataPdu) -> None:
        super()._handle_metadata_packet(metadata_pdu)
        if (
            self._params.acked_params.deferred_lost_segment_detection_active
            and self.step is TransactionStep.RECEIVING_FILE_DATA
        ):
            self.states.step = TransactionStep.WAITING_FOR_MISSING_DATA

    def _handle_file_data_without_previous_metadata(self, fd_pdu: FileDataPdu) -> None:
        self._handle_fd_pdu(fd_pdu)
        if self.peer.immediate_nak and not self._metadata_asked:
            self._metadata_asked = True
            self._requests.append((0, 0))

    def _handle_eof_without_previous_metadata(self, eof_pdu: EofPdu) -> None:
        self._handle_eof_pdu(eof_pdu)

    def _eof_ack_pdu_done(self) -> None:
        acked = self._params.acked_params
        cancelled = self._params.completion_disposition is CompletionDisposition.CANCELED
        if cancelled or acked.lost_seg_tracker.num_lost_segments or acked.metadata_missing:
            super()._eof_ack_pdu_done()
        else:
            self._deferred_lost_segment_handling()

    def _deferred_lost_segment_handling(self) -> None:
        first = self._params.acked_params.procedure_timer is None
        super()._deferred_lost_segment_handling()
        config = self._params.remote_cfg
        if first and self._params.acked_params.procedure_timer is not None and config is not None:
            self._params.acked_params.procedure_timer = timer(
                self.clock, config.nak_timer_interval_seconds
            )

    def _start_positive_ack_procedure(self) -> None:
        super()._start_positive_ack_procedure()
        config = self._params.remote_cfg
        assert config is not None
        self._params.positive_ack_params.ack_timer = timer(
            self.clock, config.positive_ack_timer_interval_seconds
        )

    def _handle_positive_ack_procedures(self) -> FsmResult | None:
        waits = self._params.positive_ack_params
        config = self._params.remote_cfg
        assert waits.ack_timer is not None
        assert config is not None
        if not waits.ack_timer.timed_out():
            return None
        if waits.ack_counter + 1 >= config.positive_ack_timer_expiration_limit:
            self._reset_internal(False)
            return None
        waits.ack_timer.reset()
        waits.ack_counter += 1
        self._prepare_finished_pdu()
        return None
