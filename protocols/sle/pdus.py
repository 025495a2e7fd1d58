"""Which PDUs a service has, by their tags: what a user sends a provider, and what it is sent."""

from __future__ import annotations

from functools import cache
from typing import Any

from protocols.sle import cltu, common, frames
from protocols.sle.ber import OneOf
from protocols.sle.common import ServiceType
from protocols.sle.parameters import get_parameter_return


@cache
def to_provider(service: ServiceType) -> OneOf:
    """RafUserToProviderPdu, RcfUserToProviderPdu, CltuUserToProviderPdu."""
    start = {
        ServiceType.RAF: frames.RAF_START,
        ServiceType.RCF: frames.RCF_START,
        ServiceType.CLTU: cltu.CLTU_START,
    }[service]
    own = {8: cltu.THROW_EVENT, 10: cltu.TRANSFER_DATA} if service is ServiceType.CLTU else {}
    return OneOf(
        {
            0: start,
            2: common.STOP_INVOCATION,
            4: common.SCHEDULE_STATUS_REPORT,
            6: common.GET_PARAMETER,
            **own,
            **common.ASSOCIATION_TO_PROVIDER,
        }
    )


@cache
def to_user(service: ServiceType, version: int) -> OneOf:
    """RafProviderToUserPdu, RcfProviderToUserPdu, CltuProviderToUserPdu."""
    own: dict[int, Any]
    if service is ServiceType.CLTU:
        own = {
            1: cltu.CLTU_START_RETURN,
            9: cltu.THROW_EVENT_RETURN,
            11: cltu.TRANSFER_DATA_RETURN,
            12: cltu.ASYNC_NOTIFY,
            13: cltu.CLTU_STATUS,
        }
    elif service is ServiceType.RAF:
        own = {1: frames.START_RETURN, 8: frames.RAF_BUFFER, 9: frames.RAF_STATUS}
    else:
        own = {1: frames.START_RETURN, 8: frames.RCF_BUFFER, 9: frames.RCF_STATUS}
    return OneOf(
        {
            3: common.STOP_RETURN,
            5: common.SCHEDULE_STATUS_REPORT_RETURN,
            7: get_parameter_return(service, version),
            **own,
            **common.ASSOCIATION_TO_USER,
        }
    )
