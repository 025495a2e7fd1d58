"""The sender of one file: cfdp-py's source handler on our clock, through loss and restarts.

What is changed of cfdp-py 0.7, and why:

- timers are ours (`timers.py`);
- retransmissions are kept as spans and read when there is room for them: cfdp-py would make all
  PDUs that a NAK asks for at once, and make them again for every NAK that asks again;
- a Finished PDU says that the EOF arrived, too: cfdp-py refuses it until it has heard the EOF's
  acknowledgement, which may have been lost;
- inactivity, which it lacks;
- it can begin in the middle, after a restart.
"""

# cfdp-py and spacepackets are annotated, but without py.typed.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from cfdppy.defs import CfdpState
from cfdppy.exceptions import InvalidNakPdu, InvalidPduDirection, PduIgnoredForSource
from cfdppy.handler.source import SourceHandler, TransactionStep
from cfdppy.request import PutRequest
from spacepackets.cfdp.defs import ConditionCode, TransmissionMode
from spacepackets.cfdp.pdu import FinishedPdu
from spacepackets.cfdp.pdu.helper import GenericPduPacket
from spacepackets.cfdp.tlv import MessageToUserTlv
from spacepackets.seqcount import ProvidesSeqCount

from protocols.files.machine import Machine, timer
from protocols.files.pdus import Peer, entity_id
from protocols.files.records import Record, TransferStore
from protocols.files.spans import Spans, add, remove
from protocols.files.timers import Timer, TransactionClock

_SENDING = (
    TransactionStep.SENDING_METADATA,
    TransactionStep.SENDING_FILE_DATA,
    TransactionStep.SENDING_EOF,
    TransactionStep.RETRANSMITTING,
)
_LISTENING = (TransactionStep.WAITING_FOR_EOF_ACK, TransactionStep.WAITING_FOR_FINISHED)
#: Of a file data PDU, beyond the data: header, offset and CRC, at most.
_AROUND = 4 + 3 * 8 + 8 + 2


class _Number(ProvidesSeqCount):
    """The transaction's own number, once."""

    def __init__(self, number: int) -> None:
        self._number = number

    @property
    def max_bit_width(self) -> int:
        return 32

    @max_bit_width.setter
    def max_bit_width(self, width: int) -> None:
        raise NotImplementedError

    def get_and_increment(self) -> int:
        return self._number


class Source(Machine, SourceHandler):
    """record: of a put; its progress says where to begin."""

    def __init__(
        self, record: Record, local: int, peer: Peer, store: TransferStore, clock: TransactionClock
    ) -> None:
        self.prepare(record, local, peer, store, clock)
        SourceHandler.__init__(
            self, self.local, self.listener, self.remotes, self.checks, _Number(record.number)
        )
        self._again: Spans = []
        without_file = record.size < 0
        self.put_request(
            PutRequest(
                destination_id=entity_id(peer.number),
                source_file=None if without_file else store.path(record.source_name),
                dest_file=None if without_file else store.path(record.dest_name),
                trans_mode=TransmissionMode.ACKNOWLEDGED
                if record.class_ == 2
                else TransmissionMode.UNACKNOWLEDGED,
                closure_requested=False,
                msgs_to_user=[MessageToUserTlv(message) for message in record.messages] or None,
            )
        )
        self.state_machine()
        self._drain()
        if record.progress:
            # The peer has the metadata, or will ask for it.
            self.out.clear()
            self._params.fp.progress = record.progress
        if record.cancelled:
            self.cancel()

    # Ways out -----------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        return self.state is CfdpState.IDLE

    @property
    def waiting(self) -> bool:
        return bool(self.out or self._again) or self.step in _SENDING

    def next_pdu(self, room: int) -> bytes | None:
        if not self.out:
            if self._again:
                if room < self.peer.longest_pdu:
                    return None
                self._resend()
            elif self.step in _SENDING:
                if room < self.peer.longest_pdu:
                    return None
                self.state_machine()
            self._drain()
        if not self.out or len(self.out[0]) > room:
            return None
        pdu = self.out.popleft()
        self.record.progress = max(self.record.progress, self.progress)
        if not self.out:
            self.left()
        return pdu

    def left(self) -> None:
        waits = self._params.positive_ack_params.ack_timer
        if self.step is TransactionStep.WAITING_FOR_EOF_ACK and waits is not None:
            waits.reset()

    def _resend(self) -> None:
        start, end = self._again[0]
        length = min(end - start, self._params.fp.segment_len)
        self._prepare_file_data_pdu(start, length)
        remove(self._again, start, start + length)
        self.record.resent += length

    def _drain(self) -> None:
        while (holder := self.get_next_packet()) is not None:
            assert holder.pdu is not None
            self.out.append(bytes(holder.pdu.pack()))

    # Ways in ------------------------------------------------------------------------------------

    def hear(self, pdu: GenericPduPacket) -> bool:
        """Whether the PDU meant anything now."""
        self.heard()
        if isinstance(pdu, FinishedPdu):
            self.out.clear()
            self._again.clear()
            self.states.step = TransactionStep.WAITING_FOR_FINISHED
        try:
            self.state_machine(pdu)  # type: ignore[arg-type]
        except (PduIgnoredForSource, InvalidNakPdu, InvalidPduDirection):
            return False
        finally:
            self._drain()
        return True

    def cancel(self) -> None:
        self.record.cancelled = True
        self.out.clear()
        self._again.clear()
        transaction = self.transaction_id
        if transaction is not None:
            self.cancel_request(transaction)
        self._drain()

    # Time ---------------------------------------------------------------------------------------

    def deadlines(self) -> list[int]:
        if self.waiting or self.step not in _LISTENING:
            return []
        found = [self.inactive_ns]
        running = (
            self._params.positive_ack_params.ack_timer
            if self.step is TransactionStep.WAITING_FOR_EOF_ACK
            else self._params.check_timer
        )
        if isinstance(running, Timer):
            found.append(running.deadline_ns)
        return found

    def tick(self) -> None:
        if self.waiting or self.step not in _LISTENING:
            return
        if self.clock.now_ns >= self.inactive_ns:
            self.heard()
            self._declare_fault(ConditionCode.INACTIVITY_DETECTED)
        else:
            self.state_machine()
        self._drain()

    # cfdp-py's procedures -----------------------------------------------------------------------

    def _start_positive_ack_procedure(self) -> None:
        super()._start_positive_ack_procedure()
        config = self._params.remote_cfg
        assert config is not None
        self._params.positive_ack_params.ack_timer = timer(
            self.clock, config.positive_ack_timer_interval_seconds
        )

    def _prepare_file_params(self) -> None:
        fp = self._params.fp
        fp.metadata_only = self.record.size < 0
        fp.file_size = max(self.record.size, 0)
        fp.empty_file = self.record.size == 0

    def _handle_segment_req(self, segment_req: tuple[int, int]) -> None:
        start, end = segment_req
        if (start, end) == (0, 0):
            self._prepare_metadata_pdu()
            return
        end = min(end, self._params.fp.file_size or 0)
        if not start < end or start > self._params.fp.progress:
            raise InvalidNakPdu(f"segment {segment_req}: of 0..{self._params.fp.progress} sent")
        add(self._again, start, end)
