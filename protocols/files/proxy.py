"""Asking a peer for a file: proxy operations in messages to user, 727.0-B."""

# cfdp-py and spacepackets are annotated, but without py.typed.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spacepackets.cfdp.defs import (
    ConditionCode,
    DeliveryCode,
    FileStatus,
    TransactionId,
    TransmissionMode,
)
from spacepackets.cfdp.lv import CfdpLv
from spacepackets.cfdp.tlv import (
    MessageToUserTlv,
    OriginatingTransactionId,
    ProxyMessageType,
    ProxyPutRequest,
    ProxyPutRequestParams,
    ProxyPutResponse,
    ProxyPutResponseParams,
    ProxyTransmissionMode,
)
from spacepackets.util import ByteFieldU32

from protocols.files.pdus import entity_id
from protocols.files.records import Key


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to be sent to `entity`."""

    entity: int
    source_name: str
    dest_name: str
    class_: int


@dataclass(frozen=True, slots=True)
class Said:
    """What messages to user say; origin: the transaction that they answer."""

    request: Wanted | None = None
    response: ConditionCode | None = None
    origin: Key | None = None


def put_request(entity: int, source_name: str, dest_name: str, class_: int) -> tuple[bytes, ...]:
    """Values of messages to user that ask for a file to be sent to `entity`."""
    params = ProxyPutRequestParams(
        dest_entity_id=entity_id(entity),
        source_file_name=CfdpLv.from_str(source_name),
        dest_file_name=CfdpLv.from_str(dest_name),
    )
    mode = TransmissionMode.ACKNOWLEDGED if class_ == 2 else TransmissionMode.UNACKNOWLEDGED
    return bytes(ProxyPutRequest(params).value), bytes(ProxyTransmissionMode(mode).value)


def put_response(condition: ConditionCode) -> tuple[bytes, ...]:
    """The file that was asked for will not come."""
    params = ProxyPutResponseParams(
        condition, DeliveryCode.DATA_INCOMPLETE, FileStatus.FILE_STATUS_UNREPORTED
    )
    return (bytes(ProxyPutResponse(params).value),)


def originating(key: Key) -> tuple[bytes, ...]:
    """Which transaction asked for this one."""
    transaction = TransactionId(entity_id(key[0]), ByteFieldU32(key[1]))
    return (bytes(OriginatingTransactionId(transaction).value),)


def read(messages: Iterable[bytes]) -> Said:
    """Those we know; others, and malformed ones, are passed over."""
    wanted: ProxyPutRequestParams | None = None
    class_ = 2
    response: ConditionCode | None = None
    origin: Key | None = None
    for value in messages:
        try:
            message = MessageToUserTlv(value).to_reserved_msg_tlv()
            if message is None:
                continue
            if message.is_originating_transaction_id():
                found = message.get_originating_transaction_id()
                if found is not None:
                    origin = found.source_id.value, found.seq_num.value
                continue
            if not message.is_cfdp_proxy_operation():
                continue
            kind = message.get_cfdp_proxy_message_type()
            if kind is ProxyMessageType.PUT_REQUEST:
                wanted = message.get_proxy_put_request_params()
            elif kind is ProxyMessageType.TRANSMISSION_MODE:
                mode = message.get_proxy_transmission_mode()
                class_ = 1 if mode is TransmissionMode.UNACKNOWLEDGED else 2
            elif kind is ProxyMessageType.PUT_RESPONSE:
                params = message.get_proxy_put_response_params()
                response = None if params is None else params.condition_code
        except (ValueError, IndexError, AssertionError):
            # spacepackets asserts what it has not checked, of octets that came from outside.
            continue
    request = None
    if wanted is not None:
        request = Wanted(
            wanted.dest_entity_id.value,
            wanted.source_file_name.value.decode("utf-8", "replace"),
            wanted.dest_file_name.value.decode("utf-8", "replace"),
            class_,
        )
    return Said(request, response, origin)
