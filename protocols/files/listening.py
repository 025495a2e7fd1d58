"""What cfdp-py's handlers are given: whom they tell, where the file is, what a fault leads to."""

# cfdp-py and spacepackets are annotated, but without py.typed.
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import numpy as np
from cfdppy.filestore import VirtualFilestore
from cfdppy.mib import DefaultFaultHandlerBase, IndicationConfig
from cfdppy.user import (
    CfdpUserBase,
    FileSegmentRecvdParams,
    MetadataRecvParams,
    TransactionFinishedParams,
    TransactionParams,
)
from google_crc32c import extend as crc32c_extend
from spacepackets.cfdp.defs import (
    NULL_CHECKSUM_U32,
    ChecksumType,
    ConditionCode,
    FaultHandlerCode,
    TransactionId,
)
from spacepackets.cfdp.tlv import FilestoreResponseStatusCode

from protocols.errors import LocalError
from protocols.files.records import Key, TransferStore, file_crc32

#: A segment at a time is told to nobody: the store is asked for what is there.
INDICATIONS: Final = IndicationConfig(
    eof_sent_indication_required=False,
    eof_recv_indication_required=False,
    file_segment_recvd_indication_required=False,
)
CHECKSUMS: Final = frozenset(
    {
        ChecksumType.MODULAR,
        ChecksumType.CRC_32C,
        ChecksumType.CRC_32,
        ChecksumType.NULL_CHECKSUM,
    }
)
_UNUSED = FilestoreResponseStatusCode.NOT_PERFORMED


def checksum(store: TransferStore, key: Key, kind: ChecksumType, length: int) -> bytes:
    """Of the first `length` octets.  Raises LocalError for a type not in `CHECKSUMS`."""
    if kind is ChecksumType.NULL_CHECKSUM:
        return NULL_CHECKSUM_U32
    parts = store.octets(key, length)
    if kind is ChecksumType.CRC_32:
        return struct.pack("!I", file_crc32(parts))
    if kind is ChecksumType.CRC_32C:
        value = 0
        for part in parts:
            value = crc32c_extend(value, part)
        return struct.pack("!I", value)
    if kind is ChecksumType.MODULAR:
        octets = b"".join(parts)
        words = np.frombuffer(octets + bytes(-len(octets) % 4), ">u4")
        return struct.pack("!I", int(words.sum(dtype=np.uint64)) & 0xFFFF_FFFF)
    raise LocalError(f"checksum type {kind.name}: {', '.join(sorted(k.name for k in CHECKSUMS))}")


class TransactionFile(VirtualFilestore):
    """The one file of one transaction, whatever cfdp-py calls it."""

    def __init__(self, store: TransferStore, key: Key) -> None:
        self._store = store
        self._key = key

    def read_data(self, file: Any, offset: int | None, read_len: int) -> bytes:
        return self._store.read(self._key, offset or 0, read_len)

    def write_data(self, file: Any, data: bytes, offset: int | None) -> None:
        self._store.write(self._key, offset or 0, data)

    def file_size(self, file: Any) -> int:
        raise LocalError("the size of a file stands in its record")

    def file_exists(self, path: Any) -> bool:
        return True

    def is_directory(self, path: Any) -> bool:
        return False

    def filename_from_full_path(self, path: Any) -> str | None:
        return str(path.name)

    def read_from_opened_file(self, bytes_io: BinaryIO, offset: int, read_len: int) -> bytes:
        raise LocalError("there is no opened file")

    def truncate_file(self, file: Any) -> None:
        """What is there of a part stays: it is this transaction's."""

    def create_file(self, file: Any) -> FilestoreResponseStatusCode:
        return FilestoreResponseStatusCode.CREATE_SUCCESS

    def delete_file(self, file: Any) -> FilestoreResponseStatusCode:
        return FilestoreResponseStatusCode.DELETE_SUCCESS

    # Filestore requests are not among our procedures.

    def rename_file(self, _old_file: Any, _new_file: Any) -> FilestoreResponseStatusCode:
        return _UNUSED

    def replace_file(self, _replaced_file: Any, _source_file: Any) -> FilestoreResponseStatusCode:
        return _UNUSED

    def create_directory(self, _dir_name: Any) -> FilestoreResponseStatusCode:
        return _UNUSED

    def remove_directory(self, _dir_name: Any, recursive: bool) -> FilestoreResponseStatusCode:
        return _UNUSED

    def list_directory(
        self, _dir_name: Any, _file_name: Any, _recursive: bool = False
    ) -> FilestoreResponseStatusCode:
        return _UNUSED

    def calculate_checksum(
        self,
        checksum_type: ChecksumType,
        file_path: Any,
        size_to_verify: int,
        segment_len: int = 4096,
    ) -> bytes:
        return checksum(self._store, self._key, checksum_type, size_to_verify)


class Faults(DefaultFaultHandlerBase):
    """The last fault of one transaction."""

    def __init__(self) -> None:
        super().__init__()
        # A sender that hears nothing after its EOF (cancel), too, gives up: cfdp-py sees to that.
        self.set_handler(ConditionCode.INACTIVITY_DETECTED, FaultHandlerCode.NOTICE_OF_CANCELLATION)
        self.condition = ConditionCode.NO_ERROR

    def _note(self, transaction_id: TransactionId, cond: ConditionCode, progress: int) -> None:
        self.condition = cond

    def notice_of_suspension_cb(
        self, transaction_id: TransactionId, cond: ConditionCode, progress: int
    ) -> None:
        self._note(transaction_id, cond, progress)

    def notice_of_cancellation_cb(
        self, transaction_id: TransactionId, cond: ConditionCode, progress: int
    ) -> None:
        self._note(transaction_id, cond, progress)

    def abandoned_cb(
        self, transaction_id: TransactionId, cond: ConditionCode, progress: int
    ) -> None:
        self._note(transaction_id, cond, progress)

    def ignore_cb(self, transaction_id: TransactionId, cond: ConditionCode, progress: int) -> None:
        """Of a checksum that is wrong while data are missing: no fault of the transaction's."""


class Listener(CfdpUserBase):
    """Hears of one transaction.  finishing: called when the file is here or will not be, before
    the Finished PDU that says so is made."""

    def __init__(self, store: TransferStore, key: Key) -> None:
        super().__init__(TransactionFile(store, key))
        self.metadata: MetadataRecvParams | None = None
        self.finished: TransactionFinishedParams | None = None
        self.finishing: Callable[[TransactionFinishedParams], None] | None = None

    def metadata_recv_indication(self, params: MetadataRecvParams) -> None:
        self.metadata = params

    def transaction_finished_indication(self, params: TransactionFinishedParams) -> None:
        self.finished = params
        if self.finishing is not None:
            self.finishing(params)

    # What our entity sees without being told -----------------------------------------------------

    def transaction_indication(self, transaction_indication_params: TransactionParams) -> None:
        pass

    def eof_sent_indication(self, transaction_id: TransactionId) -> None:
        pass

    def eof_recv_indication(self, transaction_id: TransactionId) -> None:
        pass

    def file_segment_recv_indication(self, params: FileSegmentRecvdParams) -> None:
        pass

    def report_indication(self, transaction_id: TransactionId, status_report: Any) -> None:
        pass

    def suspended_indication(self, transaction_id: TransactionId, cond_code: ConditionCode) -> None:
        pass

    def resumed_indication(self, transaction_id: TransactionId, progress: int) -> None:
        pass

    def fault_indication(
        self, transaction_id: TransactionId, cond_code: ConditionCode, progress: int
    ) -> None:
        pass

    def abandoned_indication(
        self, transaction_id: TransactionId, cond_code: ConditionCode, progress: int
    ) -> None:
        pass
