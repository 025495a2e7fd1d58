"""User and provider against one another on a virtual clock: associations, services, time-outs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.sle import cltu, common, frames, pdus, provider, tml, user
from protocols.sle.ber import Chosen
from protocols.sle.cltu import CltuProduction, TransferDiagnostic
from protocols.sle.cltu_service import CltuService
from protocols.sle.common import AbortDiagnostic, BindDiagnostic, Refused, ServiceType
from protocols.sle.credentials import (
    Hash,
    Level,
    Security,
    build_credentials,
    check_credentials,
)
from protocols.sle.frame_service import FrameService, channel_of
from protocols.sle.frames import Quality, RequestedQuality
from protocols.sle.parameters import (
    Channel,
    DeliveryMode,
    GetParameterReturn,
    MasterChannel,
    Name,
    Parameter,
    table,
)
from protocols.sle.provider import Provider
from protocols.sle.tml import Heartbeat, Tml
from protocols.sle.user import Binding, User
from protocols.timecodes.tai import tai_ns_from_utc_iso

T = tai_ns_from_utc_iso("2026-11-22T21:00:00Z")
S = 10**9
RAF = "sagr=1.spack=PASS-7.rsl-fg=1.raf=onlc1"
RCF = "sagr=1.spack=PASS-7.rsl-fg=1.rcf=onlc1"
CLTU = "sagr=1.spack=PASS-7.fsl-fg=1.cltu=cltu1"
OURS = Security("L4RG", b"user", "STATION", b"provider", level=Level.ALL, entropy=lambda: 7)
THEIRS = Security("STATION", b"provider", "L4RG", b"user", level=Level.ALL, entropy=lambda: 8)
#: A TM frame of spacecraft 0x123, virtual channel 5, and an AOS frame of 0x45, 6.
TM = bytes.fromhex("123b") + bytes(20)
AOS = bytes.fromhex("5146") + bytes(20)


class Pair:
    """Both ends of a connection; octets cross in pieces of `piece`."""

    def __init__(
        self,
        service: provider.Service,
        *,
        ours: Security = OURS,
        theirs: Security = THEIRS,
        instance: str = "",
        version: int = 5,
        piece: int = 1 << 20,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self.now = T
        self.piece = piece
        self.user = User(
            service.service,
            Binding(instance=instance or service.identifier, port="SLE", version=version),
            ours,
            heartbeat=heartbeat,
        )
        self.provider = Provider([service], {"L4RG": theirs}, identifier="STATION", port="SLE")
        self.provider.connected(T)
        self.user.connected(T)

    def run(self) -> list[Any]:
        """Until nothing is on its way; what the user was told."""
        found: list[Any] = []
        while True:
            up, down = b"".join(self.user.take_output()), b"".join(self.provider.take_output())
            if not up and not down:
                return found
            for at in range(0, len(up), self.piece):
                self.provider.receive(self.now, up[at : at + self.piece])
            for at in range(0, len(down), self.piece):
                found += self.user.receive(self.now, down[at : at + self.piece])

    def started(self, start: Callable[[User], int]) -> Pair:
        (bound,) = self.run()
        assert bound.result == self.provider.service.version, bound  # type: ignore[union-attr]
        start(self.user)
        (answer,) = self.run()
        assert not isinstance(answer.result, Refused), answer
        return self


def message(pdu: bytes) -> bytes:
    return b"\x01\0\0\0" + len(pdu).to_bytes(4) + pdu


def raf(**more: Any) -> FrameService:
    return FrameService(ServiceType.RAF, RAF, **more)


# ---------------------------------------------------------------- frames


@given(st.integers(1, 40), st.sampled_from(list(Level)), st.integers(2, 5))
def test_a_pass_of_frames_in_pieces_of_any_size(piece: int, level: Level, version: int) -> None:
    service = raf(buffer_size=3)
    ours, theirs = replace(OURS, level=level), replace(THEIRS, level=level)
    pair = Pair(service, ours=ours, theirs=theirs, piece=piece, version=version)
    pair.started(lambda user: user.start_raf(T))
    sent = [bytes([number]) * 50 for number in range(7)]
    for number, frame in enumerate(sent):
        service.deliver(T, frame, T + number, continuity=number)
    found = pair.run()
    assert len(found) == 6  # two full buffers; the seventh waits to be joined
    pair.now = service.next_deadline_ns or 0
    pair.provider.timeout(pair.now)
    found += pair.run()
    assert [(one.data, one.ert_ns, one.continuity) for one in found] == [
        (frame, T + number, number) for number, frame in enumerate(sent)
    ]
    pair.user.stop(T)
    assert [type(one) for one in pair.run()] == [common.StopReturn]
    pair.user.unbind(T)
    pair.run()
    assert pair.user.state is user.State.ENDED
    assert service.state is provider.State.UNBOUND


def test_what_is_held_comes_before_the_return_of_stop() -> None:
    service = raf()
    pair = Pair(service).started(lambda user: user.start_raf(T))
    service.deliver(T, TM, T)
    pair.user.stop(T)
    assert [type(one) for one in pair.run()] == [frames.AnnotatedFrame, common.StopReturn]


@pytest.mark.parametrize(
    ("quality", "wanted"),
    [
        (RequestedQuality.GOOD, [Quality.GOOD]),
        (RequestedQuality.ERRED, [Quality.ERRED]),
        (RequestedQuality.ALL, list(Quality)),
    ],
)
def test_frames_of_the_quality_asked_for(quality: RequestedQuality, wanted: list[Quality]) -> None:
    service = raf(buffer_size=1)
    pair = Pair(service).started(lambda user: user.start_raf(T, quality=quality))
    for each in Quality:
        service.deliver(T, TM, T, quality=each)
    assert [one.quality for one in pair.run()] == wanted


def test_frames_of_the_times_asked_for() -> None:
    service = raf(buffer_size=1)
    pair = Pair(service).started(
        lambda user: user.start_raf(T, start_ns=T + 2 * S, stop_ns=T + 4 * S)
    )
    for second in range(7):
        service.deliver(T, TM, T + second * S)
    assert [(one.ert_ns - T) // S for one in pair.run()] == [2, 3, 4]


@pytest.mark.parametrize(
    ("channel", "wanted"),
    [
        (Channel(0x123, 0, 5), [TM]),
        (Channel(0x123, 0), [TM]),
        (Channel(0x123, 0, 4), []),
        (Channel(0x45, 1, 6), [AOS]),
        (Channel(0x45, 0, 6), []),
    ],
)
def test_frames_of_the_channel_asked_for(channel: Channel, wanted: list[bytes]) -> None:
    service = FrameService(ServiceType.RCF, RCF, buffer_size=1)
    pair = Pair(service).started(lambda user: user.start_rcf(T, channel))
    for frame in (TM, AOS, b"\xc0\0other", b"\0"):
        service.deliver(T, frame, T)
    assert [one.data for one in pair.run()] == wanted


def test_channels_of_frames() -> None:
    assert channel_of(TM) == Channel(0x123, 0, 5)
    assert channel_of(AOS) == Channel(0x45, 1, 6)
    assert str(channel_of(TM)) == "0.291.5"


def test_notifications_stand_among_the_frames() -> None:
    service = raf(buffer_size=10)
    pair = Pair(service).started(lambda user: user.start_raf(T))
    lost = frames.LockReport(
        T, frames.Lock.OUT_OF_LOCK, frames.Lock.NOT_IN_USE, frames.Lock.UNKNOWN
    )
    service.deliver(T, TM, T)
    service.notify(T, Chosen("lost_frame_sync", lost))
    service.notify(T, Chosen("production", frames.Production.INTERRUPTED))
    service.deliver(T, TM, T)
    service.notify(T, Chosen("backlog"))
    service.notify(T, Chosen("end_of_data"))
    found = pair.run()
    # The second frame was in the buffer that the backlog discarded.
    assert isinstance(found[0], frames.AnnotatedFrame)
    assert [one.notification for one in found[1:]] == [
        Chosen("lost_frame_sync", lost),
        Chosen("production", frames.Production.INTERRUPTED),
        Chosen("backlog"),
        Chosen("end_of_data"),
    ]


@pytest.mark.parametrize(
    ("mode", "start_s", "stop_s", "code"),
    [
        (DeliveryMode.COMPLETE_ONLINE, 5, 4, 3),
        (DeliveryMode.COMPLETE_ONLINE, None, -1, 3),
        (DeliveryMode.OFFLINE, None, -1, 4),
        (DeliveryMode.OFFLINE, 5, 6, 2),
    ],
)
def test_times_that_make_no_sense_are_refused(mode, start_s, stop_s, code) -> None:
    pair = Pair(raf(mode=mode))
    pair.run()
    pair.user.start_raf(
        T,
        start_ns=None if start_s is None else T + start_s * S,
        stop_ns=None if stop_s is None else T + stop_s * S,
    )
    assert pair.run()[0].result == Refused(code)
    assert pair.user.state is user.State.READY


def test_a_channel_that_is_not_permitted_is_refused() -> None:
    service = FrameService(ServiceType.RCF, RCF, channels=(MasterChannel(0x123, 0, (1, 2)),))
    pair = Pair(service)
    pair.run()
    pair.user.start_rcf(T, Channel(0x123, 0, 5))
    assert str(pair.run()[0].result) == "invalid channel"
    pair.user.start_rcf(T, Channel(0x123, 0, 2))
    assert pair.run()[0].result is None


# ---------------------------------------------------------------- CLTUs


def test_cltus_go_up_in_order_and_are_told_of() -> None:
    service = CltuService(CLTU, buffer=100, events=(3,))
    pair = Pair(service).started(lambda user: user.start_cltu(T, 40))
    pair.user.transfer(T, 40, b"x" * 60)
    (answer,) = pair.run()
    assert (answer.result, answer.cltu, answer.buffer) == (None, 41, 40)
    refused = [
        ({"cltu_id": 42, "data": b"x"}, TransferDiagnostic.OUT_OF_SEQUENCE),
        ({"cltu_id": 41, "data": b"x" * 41}, TransferDiagnostic.UNABLE_TO_STORE),
        ({"cltu_id": 41, "data": b"x" * 5000}, TransferDiagnostic.CLTU_ERROR),
        ({"cltu_id": 41, "data": b"x", "latest_ns": T - S}, TransferDiagnostic.LATE),
        (
            {"cltu_id": 41, "data": b"x", "earliest_ns": T + 2 * S, "latest_ns": T + S},
            TransferDiagnostic.INCONSISTENT_TIME_RANGE,
        ),
    ]
    for values, why in refused:
        pair.user.transfer(T, **values)
        (answer,) = pair.run()
        assert (answer.result, answer.cltu) == (Refused(why), 41)
    service.radiated(T, 40, T + S, T + 2 * S)
    told = pair.run()
    assert [one.notification.name for one in told] == ["cltu_radiated", "buffer_empty"]
    assert told[0].last_processed == cltu.LastProcessed(40, T + S, cltu.CltuStatus.RADIATED)
    assert told[0].last_ok == cltu.LastOk(40, T + 2 * S)
    pair.user.transfer(T, 41, b"y", notify=False)
    pair.run()
    service.expired(T, 41)
    assert [one.notification.name for one in pair.run()] == ["expired"]
    service.set_production(T, CltuProduction.INTERRUPTED)
    assert pair.run()[0].production is CltuProduction.INTERRUPTED
    pair.user.transfer(T, 42, b"z")
    assert pair.run()[0].result == Refused(TransferDiagnostic.UNABLE_TO_PROCESS)


def test_events() -> None:
    service = CltuService(CLTU, events=(3,))
    pair = Pair(service).started(lambda user: user.start_cltu(T, 0))
    for invocation, event, wanted in ((0, 4, Refused(2)), (1, 3, Refused(1)), (0, 3, None)):
        pair.user.throw_event(T, invocation, event, b"now")
        assert pair.run()[0].result == wanted
    service.event_done(T, 0, completed=True)
    assert pair.run()[0].notification == Chosen("actions_completed", 0)


def test_a_production_that_is_down_refuses_start() -> None:
    service = CltuService(CLTU)
    service.production = CltuProduction.HALTED
    pair = Pair(service)
    pair.run()
    pair.user.start_cltu(T, 0)
    assert str(pair.run()[0].result) == "unable to comply"


# ---------------------------------------------------------------- reports and parameters


@pytest.mark.parametrize(
    "service",
    [raf(), FrameService(ServiceType.RCF, RCF), CltuService(CLTU)],
    ids=["raf", "rcf", "cltu"],
)
def test_reports_now_from_time_to_time_and_no_more(service: provider.Service) -> None:
    pair = Pair(service)
    pair.run()
    pair.user.schedule_status_report(T, common.IMMEDIATELY)
    answer, report = pair.run()
    assert answer.result is None
    pair.user.schedule_status_report(T, 10)
    assert [type(one) for one in pair.run()] == [type(answer), type(report)]
    for number in (1, 2):
        pair.now = T + number * 10 * S
        pair.provider.timeout(pair.now - 1)
        pair.provider.timeout(pair.now)
        assert [type(one) for one in pair.run()] == [type(report)]
    pair.user.schedule_status_report(T, common.STOP_REPORTS)
    assert pair.run()[0].result is None
    pair.user.schedule_status_report(T, common.STOP_REPORTS)
    assert str(pair.run()[0].result) == "already stopped"
    pair.provider.timeout(T + 30 * S)
    assert pair.run() == []


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", list(ServiceType))
def test_parameters_of_every_service_and_version(kind: ServiceType, version: int) -> None:
    service = (
        CltuService(CLTU)
        if kind is ServiceType.CLTU
        else FrameService(kind, RAF if kind is ServiceType.RAF else RCF)
    )
    pair = Pair(service, version=version)
    pair.run()
    known = {name for name, _ in table(kind, version).values()}
    told = {}
    for name in Name:
        pair.user.get_parameter(T, name)
        (answer,) = pair.run()
        if isinstance(answer.result, Refused):
            assert str(answer.result) == "unknown parameter"
        else:
            told[name] = answer.result.value
    assert set(told) <= known
    assert told[Name.DELIVERY_MODE] in DeliveryMode
    assert told[Name.RETURN_TIMEOUT] == 30
    assert told[Name.REPORTING_CYCLE] is None


# ---------------------------------------------------------------- associations


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"instance": "sagr=2.raf=onlc9"}, BindDiagnostic.NO_SUCH_SERVICE_INSTANCE),
        ({"version": 2}, BindDiagnostic.VERSION_NOT_SUPPORTED),
        ({"ours": Security("OTHER")}, BindDiagnostic.ACCESS_DENIED),
    ],
)
def test_bind_is_refused_with_its_reason(change, why: BindDiagnostic) -> None:
    unsigned = {
        "ours": replace(OURS, level=Level.NONE),
        "theirs": replace(THEIRS, level=Level.NONE),
    }
    pair = Pair(raf(versions=(3, 4, 5)), **{**unsigned, **change})
    (answer,) = pair.run()
    assert answer.result == Refused(why)
    assert pair.user.state is user.State.ENDED


def test_an_instance_is_bound_once_and_free_again_when_the_connection_is_lost() -> None:
    service = raf()
    first = Pair(service)
    first.run()
    assert Pair(service).run()[0].result == Refused(BindDiagnostic.ALREADY_BOUND)
    first.provider.lost()
    assert Pair(service).run()[0].result == 5


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (replace(OURS, password=b"wrong"), THEIRS),
        (replace(OURS, level=Level.NONE), THEIRS),
        (replace(OURS, algorithm=Hash.SHA_1), THEIRS),
    ],
)
def test_whoever_does_not_prove_who_he_is_is_sent_away(ours: Security, theirs: Security) -> None:
    pair = Pair(raf(), ours=ours, theirs=theirs)
    with pytest.raises(RemoteError, match=r"credentials|STRING"):
        pair.run()
    assert pair.provider.urgent == AbortDiagnostic.ACCESS_DENIED
    assert pair.provider.service is None


def test_frames_without_credentials_are_not_taken() -> None:
    service = raf(buffer_size=1)
    pair = Pair(service).started(lambda user: user.start_raf(T))
    pair.provider._security = replace(THEIRS, level=Level.BIND)
    service.deliver(T, TM, T)
    assert pair.run() == [user.Discarded(TM, "STATION gave no credentials")]
    # As if it had not come: what follows is taken.
    pair.provider._security = THEIRS
    service.deliver(T, AOS, T)
    assert [one.data for one in pair.run()] == [AOS]


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        (replace(THEIRS, password=b"wrong"), "not those of its password"),
        (replace(THEIRS, level=Level.NONE), "gave no credentials"),
    ],
)
def test_a_return_that_is_not_authentic_is_none(theirs: Security, why: str) -> None:
    pair = Pair(raf(), theirs=theirs)
    (found,) = pair.run()
    assert isinstance(found, user.Discarded)
    assert pair.user.state is user.State.BINDING
    with pytest.raises(RemoteError, match=rf"no return within 30 s; .*{why}"):
        pair.user.timeout(T + 30 * S)


def test_the_version_that_the_provider_answers_with_is_in_force() -> None:
    """GET-PARAMETER's values differ: until version 4 a channel has no NULL beside it."""
    ours = replace(OURS, level=Level.NONE)
    other = User(ServiceType.RCF, Binding(instance=RCF, port="SLE", version=5), ours)
    other.connected(T)
    bound = common.BindReturn(None, "STATION", 4)
    assert other.receive(T, message(pdus.to_user(ServiceType.RCF, 5).build(bound))) == [bound]
    ident = other.get_parameter(T, Name.REQUESTED_CHANNEL)
    value = GetParameterReturn(None, ident, Parameter(Name.REQUESTED_CHANNEL, Channel(1, 0, 2)))
    octets = pdus.to_user(ServiceType.RCF, 4).build(value)
    assert other.receive(T, message(octets)) == [value]


def test_somebody_else_answers() -> None:
    level = Level.NONE
    pair = Pair(
        raf(), ours=replace(OURS, level=level, peer="OTHER"), theirs=replace(THEIRS, level=level)
    )
    with pytest.raises(RemoteError, match="'STATION' answers, 'OTHER' wanted"):
        pair.run()


def test_operations_out_of_place_end_the_association() -> None:
    service = raf()
    pair = Pair(service)
    pair.run()
    with pytest.raises(LocalError, match="STOP in state ready"):
        pair.user.stop(T)
    pair.user.state = user.State.ACTIVE  # a user that has lost its way
    pair.user.stop(T)
    with pytest.raises(RemoteError, match="STOP in state ready"):
        pair.run()
    assert pair.provider.urgent == AbortDiagnostic.PROTOCOL_ERROR
    assert service.state is provider.State.UNBOUND
    assert "protocol error" in str(pair.user.aborted(pair.provider.urgent))


def test_a_return_that_nothing_asked_for() -> None:
    pair = Pair(raf())
    pair.run()
    pair.provider.send(T, common.ScheduleStatusReportReturn(THEIRS.sign(T), 99))
    with pytest.raises(RemoteError, match="nothing asked for"):
        pair.run()
    assert pair.user.urgent == AbortDiagnostic.UNSOLICITED_INVOKE_ID


def test_frames_before_nonsense_are_given_first() -> None:
    service = raf(buffer_size=1)
    pair = Pair(service).started(lambda user: user.start_raf(T))
    service.deliver(T, TM, T)
    octets = b"".join(pair.provider.take_output()) + bytes.fromhex("0100000000000002 0500")
    assert [one.data for one in pair.user.receive(T, octets)] == [TM]
    with pytest.raises(RemoteError):
        pair.user.receive(T, b"")


def test_a_return_that_does_not_come() -> None:
    pair = Pair(raf(), heartbeat=Heartbeat(0, 1))
    assert pair.user.next_deadline_ns == T + 30 * S
    pair.user.timeout(T + 30 * S - 1)
    with pytest.raises(RemoteError, match="no return within 30 s"):
        pair.user.timeout(T + 30 * S)
    assert pair.user.urgent == AbortDiagnostic.RETURN_TIMEOUT


def test_who_does_not_read_does_not_call_the_other_late() -> None:
    pair = Pair(raf(), heartbeat=Heartbeat(10, 2))
    for second in range(0, 200, 5):
        pair.user.not_reading(T + second * S)
        pair.user.timeout(T + second * S)
    assert len(pair.user.take_output()) > 2 * 15  # heartbeats have gone out all the time


def test_heartbeats_keep_an_idle_association() -> None:
    pair = Pair(raf(), heartbeat=Heartbeat(10, 2))
    pair.run()
    for second in range(1, 200):
        pair.now = T + second * S
        pair.user.timeout(pair.now)
        pair.provider.timeout(pair.now)
        assert pair.run() == []
    with pytest.raises(RemoteError, match="silent for 29 s"):
        pair.provider.timeout(pair.now + 20 * S)


# ---------------------------------------------------------------- ISP1


@pytest.mark.parametrize(
    ("octets", "diagnostic"),
    [
        ("04000000 00000000", AbortDiagnostic.TML_BAD_FORMAT),
        ("01000001 00000000", AbortDiagnostic.TML_BAD_FORMAT),
        ("01000000 00000000", AbortDiagnostic.TML_PROTOCOL_ERROR),
        ("02000000 0000000d", AbortDiagnostic.TML_BAD_FORMAT),
        ("02000000 0000000c 49535032 00000001 0019 0005", AbortDiagnostic.TML_BAD_FORMAT),
        ("02000000 0000000c 49535031 00000002 0019 0005", AbortDiagnostic.TML_BAD_FORMAT),
        ("02000000 0000000c 49535031 00000001 0001 0005", AbortDiagnostic.TML_HEARTBEAT_PARAMETERS),
        ("02000000 0000000c 49535031 00000001 0019 0009", AbortDiagnostic.TML_HEARTBEAT_PARAMETERS),
    ],
)
def test_what_a_connection_may_not_begin_with(octets: str, diagnostic: AbortDiagnostic) -> None:
    responder = Tml(initiator=False, heartbeat=Heartbeat(5, 8))
    responder.connected(T)
    with pytest.raises(RemoteError):
        responder.receive(T, bytes.fromhex(octets))
    assert responder.urgent == diagnostic


def test_the_context_message_is_the_one_that_others_send() -> None:
    # As yamcs/jsle and dariol83/ccsds write it.
    initiator = Tml(initiator=True, heartbeat=Heartbeat(25, 5))
    initiator.connected(T)
    assert b"".join(initiator.take_output()).hex() == "020000000000000c495350310000000100190005"


def test_a_message_longer_than_believed_is_refused_before_it_comes() -> None:
    initiator = Tml(initiator=True, longest_pdu=100)
    initiator.connected(T)
    with pytest.raises(RemoteError, match="101 octets"):
        initiator.receive(T, bytes.fromhex("01000000 00000065"))


def test_who_says_nothing_is_not_waited_for() -> None:
    responder = Tml(initiator=False, startup_s=5)
    responder.connected(T)
    responder.receive(T + 4 * S, b"\x02")
    with pytest.raises(RemoteError, match="no context"):
        responder.timeout(T + 5 * S)
    assert responder.urgent == AbortDiagnostic.TML_ASSOCIATION_TIMEOUT


@given(st.binary(max_size=200), st.integers(1, 20), st.booleans())
def test_arbitrary_octets_raise_remote_error_alone(octets: bytes, piece: int, bound: bool) -> None:
    pair = Pair(raf())
    if bound:
        pair.run()
    for receive in (pair.user.receive, pair.provider.receive):
        try:
            for at in range(0, len(octets), piece):
                receive(T, octets[at : at + piece])
        except RemoteError:
            continue


# ---------------------------------------------------------------- credentials


@pytest.mark.parametrize("algorithm", list(Hash))
def test_credentials_prove_who_says_it_for_a_while(algorithm: Hash) -> None:
    made = build_credentials("L4RG", b"secret", now_ns=T, random=5, algorithm=algorithm)
    check = {"now_ns": T, "algorithm": algorithm}
    check_credentials(made, "L4RG", b"secret", **check)
    check_credentials(made, "L4RG", b"secret", **check | {"now_ns": T + 180 * S})
    for user_name, password, more in (
        ("L4RG", b"other", {}),
        ("OTHER", b"secret", {}),
        ("L4RG", b"secret", {"now_ns": T + 181 * S}),
        ("L4RG", b"secret", {"now_ns": T - 181 * S}),
    ):
        with pytest.raises(RemoteError):
            check_credentials(made, user_name, password, **check | more)
    for place in range(len(made)):
        forged = made[:place] + bytes([made[place] ^ 1]) + made[place + 1 :]
        with pytest.raises(RemoteError):
            check_credentials(forged, "L4RG", b"secret", **check)


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(replace(OURS, password=b"secret", peer_password=b"secret"))
    with pytest.raises(LocalError, match="wants passwords"):
        Security("L4RG", level=Level.ALL)
    with pytest.raises(LocalError, match="'L4'"):
        Security("L4")


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("of", [user, provider, tml], ids=lambda of: of.__name__)
def test_every_state_is_in_its_table_and_is_reached(of: Any) -> None:
    states = set(of.State)
    first = next(iter(of.State))
    assert set(of.STATES) == states
    reached = {first}
    while True:
        more = {after for state in reached for after in of.STATES[state].values()} | reached
        if more == reached:
            break
        reached = more
    assert reached == states
