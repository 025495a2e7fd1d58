"""PDUs of SLE for tests: a strategy for each, by service and direction."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from protocols.sle import cltu, common, frames
from protocols.sle.ber import Chosen
from protocols.sle.common import Refused, ServiceType
from protocols.sle.parameters import (
    Channel,
    DeliveryMode,
    GetParameterReturn,
    MasterChannel,
    Name,
    Parameter,
    table,
)

#: Whole microseconds are built in eight octets, others in ten; TAI, 1958 to 2100.
TIMES = st.integers(10**14, 45 * 10**17) | st.integers(10**11, 45 * 10**14).map(
    lambda us: us * 1000
)
CONDITIONAL = st.none() | TIMES
CREDENTIALS = st.none() | st.binary(min_size=8, max_size=256)
INVOKE_ID = st.integers(0, 0xFFFF)
LONG = st.integers(0, 0xFFFF_FFFF)
DATA = st.binary(min_size=1, max_size=300)
CODE = st.integers(0, 127)
NONE = st.none()


def result(positive: st.SearchStrategy[Any] = NONE, *, plain: bool = False) -> Any:
    specific = st.just(True) if plain else st.booleans()
    return positive | st.builds(Refused, CODE, specific)


NAME = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=3, max_size=16)
INSTANCE = st.lists(
    st.tuples(
        st.sampled_from(["sagr", "spack", "rsl-fg", "fsl-fg", "raf", "rcf", "cltu"]),
        st.text("abcXYZ019-_", min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
).map(lambda parts: ".".join(f"{name}={value}" for name, value in parts))

STOP = st.builds(common.StopInvocation, CREDENTIALS, INVOKE_ID)
STOP_RETURN = st.builds(common.StopReturn, CREDENTIALS, INVOKE_ID, result(plain=True))
SCHEDULE = st.builds(
    common.ScheduleStatusReport,
    CREDENTIALS,
    INVOKE_ID,
    st.sampled_from([common.IMMEDIATELY, common.STOP_REPORTS]) | st.integers(2, 600),
)
SCHEDULE_RETURN = st.builds(common.ScheduleStatusReportReturn, CREDENTIALS, INVOKE_ID, result())
UNBIND = st.builds(common.UnbindInvocation, CREDENTIALS, st.sampled_from(common.UnbindReason))
UNBIND_RETURN = st.builds(common.UnbindReturn, CREDENTIALS)
BIND_RETURN = st.builds(
    common.BindReturn, CREDENTIALS, NAME, result(st.integers(1, 65_535), plain=True)
)
CHANNEL = st.builds(
    Channel, st.integers(0, 1023), st.integers(0, 3), st.none() | st.integers(0, 63)
)
ANTENNA = st.binary(min_size=1, max_size=16).map(frames.local_antenna) | st.just(
    Chosen("global", (1, 3, 112, 4, 7, 0))
)
CONTINUITY = st.integers(-1, 16_777_215)
ANNOTATION = st.none() | st.binary(min_size=1, max_size=128)
LOCK = st.sampled_from(frames.Lock)
PRODUCTION = st.sampled_from(frames.Production)
NOTIFY = st.builds(
    frames.SyncNotify,
    CREDENTIALS,
    st.builds(
        Chosen, st.just("lost_frame_sync"), st.builds(frames.LockReport, TIMES, LOCK, LOCK, LOCK)
    )
    | st.builds(Chosen, st.just("production"), PRODUCTION)
    | st.sampled_from([Chosen("backlog"), Chosen("end_of_data")]),
)
RAF_FRAME = st.builds(
    frames.AnnotatedFrame,
    *(CREDENTIALS, TIMES, ANTENNA, CONTINUITY),
    *(st.sampled_from(frames.Quality), ANNOTATION, DATA),
)
RCF_FRAME = st.builds(
    frames.ChannelFrame, CREDENTIALS, TIMES, ANTENNA, CONTINUITY, ANNOTATION, DATA
)


def buffer(frame: Any) -> Any:
    return st.builds(
        frames.TransferBuffer, st.lists(frame | NOTIFY, min_size=1, max_size=4).map(tuple)
    )


LAST_PROCESSED = st.none() | st.builds(
    cltu.LastProcessed, LONG, CONDITIONAL, st.sampled_from(cltu.CltuStatus)
)
LAST_OK = st.none() | st.builds(cltu.LastOk, LONG, TIMES)
STATE = (st.sampled_from(cltu.CltuProduction), st.sampled_from(cltu.Uplink))
TOLD = st.sampled_from(
    ["cltu_radiated", "expired", "interrupted", "halted", "operational", "buffer_empty"]
).map(Chosen) | st.builds(
    Chosen, st.sampled_from(["actions_completed", "actions_not_completed", "condition_false"]), LONG
)
SECONDS = st.integers(1, 600)
CYCLE = st.none() | st.integers(2, 600)
ONE_OF_TWO = st.integers(0, 1)
SHORT = st.integers(1, 65_535)
VCIDS = st.none() | st.lists(st.integers(0, 63), max_size=4).map(tuple)
PARAMETERS: dict[Name, Any] = {
    Name.BUFFER_SIZE: SHORT,
    Name.DELIVERY_MODE: st.sampled_from(DeliveryMode),
    Name.LATENCY_LIMIT: st.none() | SHORT,
    Name.REPORTING_CYCLE: CYCLE,
    Name.REQUESTED_FRAME_QUALITY: st.integers(0, 2),
    Name.RETURN_TIMEOUT: SECONDS,
    Name.PERMITTED_FRAME_QUALITIES: st.lists(
        st.integers(0, 2), min_size=1, max_size=3, unique=True
    ).map(tuple),
    Name.MINIMUM_REPORTING_CYCLE: SECONDS,
    Name.PERMITTED_CHANNELS: st.lists(
        st.builds(MasterChannel, st.integers(0, 1023), st.integers(0, 3), VCIDS), max_size=3
    ).map(tuple),
    Name.REQUESTED_CHANNEL: CHANNEL,
    Name.CLCW_CHANNEL: CHANNEL,
    Name.CLCW_PHYSICAL_CHANNEL: st.text("abc 12", min_size=1, max_size=32),
    Name.EXPECTED_CLTU_ID: LONG,
    Name.EXPECTED_EVENT_INVOCATION_ID: LONG,
    Name.MAXIMUM_CLTU_LENGTH: st.integers(12, 4096),
    Name.MINIMUM_DELAY_TIME: LONG,
    Name.MODULATION_FREQUENCY: st.integers(1, 0xFFFF_FFFF),
    Name.MODULATION_INDEX: SHORT,
    Name.SUBCARRIER_TO_BIT_RATE_RATIO: SHORT,
    Name.ACQUISITION_SEQUENCE_LENGTH: INVOKE_ID,
    Name.PLOP_1_IDLE_LENGTH: INVOKE_ID,
    **dict.fromkeys(
        (
            *(Name.BIT_LOCK_REQUIRED, Name.NOTIFICATION_MODE, Name.PLOP_IN_EFFECT),
            *(Name.PROTOCOL_ABORT_MODE, Name.RF_AVAILABLE_REQUIRED),
        ),
        ONE_OF_TWO,
    ),
}


def parameter_return(service: ServiceType, version: int) -> Any:
    names = sorted({name for name, _ in table(service, version).values()})
    parameter = st.sampled_from(names).flatmap(
        lambda name: st.builds(Parameter, st.just(name), PARAMETERS[name])
    )
    return st.builds(GetParameterReturn, CREDENTIALS, INVOKE_ID, result(parameter))


def to_provider(service: ServiceType) -> Any:
    bind = st.builds(
        common.BindInvocation,
        *(CREDENTIALS, NAME, NAME, st.just(service.value), st.integers(1, 65_535), INSTANCE),
    )
    get = st.builds(
        common.GetParameter, CREDENTIALS, INVOKE_ID, st.sampled_from([int(name) for name in Name])
    )
    own = {
        ServiceType.RAF: st.builds(
            frames.RafStart,
            *(CREDENTIALS, INVOKE_ID, CONDITIONAL, CONDITIONAL),
            st.sampled_from(frames.RequestedQuality),
        ),
        ServiceType.RCF: st.builds(
            frames.RcfStart, CREDENTIALS, INVOKE_ID, CONDITIONAL, CONDITIONAL, CHANNEL
        ),
        ServiceType.CLTU: st.builds(cltu.CltuStart, CREDENTIALS, INVOKE_ID, LONG)
        | st.builds(
            cltu.TransferData,
            *(CREDENTIALS, INVOKE_ID, LONG, CONDITIONAL, CONDITIONAL, LONG),
            *(st.sampled_from(cltu.SlduNotification), DATA),
        )
        | st.builds(cltu.ThrowEvent, CREDENTIALS, INVOKE_ID, LONG, SHORT, DATA),
    }[service]
    return st.one_of(own, bind, UNBIND, STOP, SCHEDULE, get)


def to_user(service: ServiceType, version: int) -> Any:
    start = st.builds(frames.FramesStartReturn, CREDENTIALS, INVOKE_ID, result())
    raf_status = st.builds(
        frames.RafStatusReport, CREDENTIALS, LONG, LONG, LOCK, LOCK, LOCK, LOCK, PRODUCTION
    )
    rcf_status = st.builds(
        frames.RcfStatusReport, CREDENTIALS, LONG, LOCK, LOCK, LOCK, LOCK, PRODUCTION
    )
    times = st.builds(cltu.RadiationTimes, TIMES, CONDITIONAL)
    own = {
        ServiceType.RAF: start | buffer(RAF_FRAME) | raf_status,
        ServiceType.RCF: start | buffer(RCF_FRAME) | rcf_status,
        ServiceType.CLTU: st.one_of(
            st.builds(cltu.CltuStartReturn, CREDENTIALS, INVOKE_ID, result(times)),
            st.builds(cltu.TransferDataReturn, CREDENTIALS, INVOKE_ID, LONG, LONG, result()),
            st.builds(cltu.ThrowEventReturn, CREDENTIALS, INVOKE_ID, LONG, result()),
            st.builds(cltu.AsyncNotify, CREDENTIALS, TOLD, LAST_PROCESSED, LAST_OK, *STATE),
            st.builds(
                cltu.CltuStatusReport,
                *(CREDENTIALS, LAST_PROCESSED, LAST_OK, *STATE, LONG, LONG, LONG, LONG),
            ),
        ),
    }[service]
    return st.one_of(
        own,
        BIND_RETURN,
        UNBIND_RETURN,
        STOP_RETURN,
        SCHEDULE_RETURN,
        parameter_return(service, version),
    )
