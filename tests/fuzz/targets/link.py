"""What comes off a link: frames, CLTUs, link security, COP-1, packets, whole reception."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput
from ground.receive.profile import LinkProfile, load_profile
from protocols.coding.cltu import CltuCoding, CltuDecoder, build_cltu, transmission
from protocols.coding.crc import crc16
from protocols.coding.sync import ASM, FrameSynchroniser
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_link import (
    CLTU_CODING,
    SIMULATION_KEYS,
    TC_PARAMETERS,
    TC_SECURITY,
    security_endpoint,
    security_initiator,
)
from protocols.dictionary.l4_structures import KnownStructures
from protocols.errors import LocalError, ProtocolError, RemoteError
from protocols.frames import aos, tc, tm, uslp
from protocols.frames.clcw import CLCW
from protocols.frames.farm import Farm
from protocols.frames.fop import Fop
from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from protocols.frames.sdls_frames import process_tc, protect_tc
from protocols.frames.sdls_procedures import (
    KeyIds,
    Pdu,
    Procedure,
    SecurityUnit,
    build_pdu,
    parse_pdu,
)
from protocols.frames.security_report import FrameSecurityReport
from protocols.frames.tc import FrameType, TcFrame
from protocols.packets import encapsulation, space_packet
from protocols.packets.extraction import PacketExtractor
from protocols.packets.large_reports import LargeReports
from protocols.packets.pus import (
    Report,
    build_report,
    build_request,
    parse_report,
    parse_request,
)
from protocols.sle import pdus
from protocols.sle.common import PeerAbort, ServiceType
from protocols.sle.tml import Tml
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.cuc import CucFormat
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests import sle_pdus, strategies
from tests.fuzz.target import Target, examples, pieces, streamed

CAPTURES: Final = Path(__file__).resolve().parents[2] / "captures"
S: Final = 1_000_000_000
EPOCH_NS: Final = tai_ns_from_utc_iso("2020-01-01T00:00:00Z")
SCID: Final = TC_PARAMETERS.scid
AOS: Final = FrameParameters("aos", 60, "crc16", True)
TM: Final = FrameParameters("tm", 60, "crc16", False)
KEY_PROCEDURES: Final = (
    Procedure.ACTIVATE_KEYS,
    Procedure.DEACTIVATE_KEYS,
    Procedure.DESTROY_KEYS,
)
USLP: Final = FrameParameters("uslp", 64, "crc16", False, truncated_length=20)


@cache
def cadus() -> bytes:
    return (CAPTURES / "l4_relay_nominal_aos.cadu").read_bytes()


@cache
def recorded(name: str) -> dict[str, Any]:
    return tomllib.loads((CAPTURES / name).read_text())


@cache
def received() -> ChainOutput:
    """What the recorded CADUs hold."""
    chain = ReceiveChain(load_profile("l4_relay"), input="cadu")
    return chain.push(cadus(), 0)


def packets() -> list[bytes]:
    batch = received().packets
    found = [bytes(batch.packet(row)) for row in range(len(batch))]
    # One of each kind and length.
    return list({(packet[:2], packet[7:9], len(packet)): packet for packet in found}.values())


# Frames ------------------------------------------------------------------------------------------


def frame_round_trip(module: Any, parameters: FrameParameters) -> Callable[[bytes], None]:
    def run(octets: bytes) -> None:
        frame = module.parse(octets, parameters)
        again = module.parse(module.build(frame, parameters), parameters)
        assert again == frame

    return run


def extraction(parameters: FrameParameters) -> Callable[[bytes], None]:
    """Frames as arrays: columns, and packets across frames."""
    length = parameters.frame_length

    def run(octets: bytes) -> None:
        count = len(octets) // length
        frames = np.frombuffer(octets[: count * length], np.uint8).reshape(count, length)
        ert_ns = np.arange(count, dtype=np.int64)
        whole = PacketExtractor(accept_encapsulation=True)
        found = whole.push(frames, index_frames(frames, parameters), ert_ns)
        cut = PacketExtractor(accept_encapsulation=True)
        parts = [
            cut.push(frames[n : n + 1], index_frames(frames[n : n + 1], parameters), ert_ns[n:][:1])
            for n in range(count)
        ]
        assert sum(len(part.packets) for part in parts) == len(found.packets)
        assert cut.statistics.frames == whole.statistics.frames == count

    return run


def frames_of(parameters: FrameParameters, kind: str, count: int) -> list[bytes]:
    module: Any = {"tm": tm, "aos": aos, "uslp": uslp}[kind]
    strategy: Any = {
        "tm": strategies.tm_frames,
        "aos": strategies.aos_frames,
        "uslp": strategies.uslp_frames,
    }[kind](parameters, **({"fixed": True} if kind == "uslp" else {}))
    return [module.build(frame, parameters) for frame in examples(strategy, count)]


def synchroniser(octets: bytes) -> None:
    def found(chunks: Iterable[bytes]) -> list[int]:
        search = FrameSynchroniser(marker=ASM, frame_length=20, marker_errors=1)
        positions: list[int] = []
        for chunk in chunks:
            positions += search.push(chunk).position.tolist()
        return positions + search.finish().position.tolist()

    assert found(pieces(octets)) == found([octets[2:]])


# Telecommand -------------------------------------------------------------------------------------


def cltus(coding: CltuCoding) -> Callable[[bytes], None]:
    def run(octets: bytes) -> None:
        decoder = CltuDecoder(coding, longest=2048)
        found = [one for chunk in pieces(octets) for one in decoder.push(chunk)]
        found += decoder.deactivate() or []
        whole = CltuDecoder(coding, longest=2048)
        once = whole.push(octets[2:])
        once += whole.deactivate() or []
        assert [(one.data, one.position) for one in found] == [
            (one.data, one.position) for one in once
        ]
        for one in found:
            for frame in tc.delimit(one.data, TC_PARAMETERS).frames:
                tc_frame(frame)

    return run


def tc_frame(octets: bytes) -> None:
    try:
        frame = tc.parse(octets, TC_PARAMETERS)
    except RemoteError:
        return
    assert tc.parse(tc.build(frame, TC_PARAMETERS), TC_PARAMETERS) == frame
    if frame.frame_type is FrameType.BC:
        try:
            tc.parse_control_command(frame.data)
        except RemoteError:
            return


def tc_frames() -> list[bytes]:
    frames = [
        TcFrame(0, b"first", FrameType.AD, 1),
        TcFrame(0, bytes(60), FrameType.BD),
        TcFrame(0, tc.Unlock().build(), FrameType.BC),
        TcFrame(0, tc.SetVr(7).build(), FrameType.BC),
        TcFrame(max(TC_PARAMETERS.vcids), b"file", FrameType.BD),
    ]
    return [tc.build(frame, TC_PARAMETERS) for frame in frames]


def secured_frames() -> list[bytes]:
    sender = security_endpoint(SIMULATION_KEYS)
    found: list[bytes] = []
    for number in range(4):
        frame = TcFrame(0, b"packet %d" % number, FrameType.AD, number)
        protected = protect_tc(sender, TC_SECURITY.spi, frame, TC_PARAMETERS)
        found.append(tc.build(protected, TC_PARAMETERS))
    return found


def command_link(octets: bytes) -> None:
    """Validation, FARM-1, link security: whatever comes, the far end says what became of it."""
    farm, endpoint = Farm(0), security_endpoint(SIMULATION_KEYS)
    for one in tc.delimit(octets, TC_PARAMETERS).frames:
        try:
            frame = tc.parse(one, TC_PARAMETERS)
        except RemoteError:
            farm.invalid_frame()
            continue
        if (
            frame.vcid == 0
            and farm.receive(frame) is not None
            and frame.frame_type is not FrameType.BC
        ):
            result = process_tc(endpoint, frame, TC_PARAMETERS)
            assert (result.refusal is None) or not result.data or result.spi >= 0
            farm.release_buffer()
        CLCW.parse(farm.clcw().build())


def key_management(octets: bytes) -> None:
    unit = SecurityUnit(security_endpoint(SIMULATION_KEYS))
    at = 0
    while at < len(octets):
        length = 1 + octets[at]
        with suppress(ProtocolError):
            unit.perform(octets[at + 1 : at + 1 + length], 2)
        at += 1 + length


def management_pdus() -> list[bytes]:
    ground = security_initiator(SIMULATION_KEYS)
    keys = [10, 11, 12]
    made = [
        ground.otar(keys, lambda count: bytes(range(count))),
        *(build_pdu(Pdu(one, KeyIds(tuple(keys)).build())) for one in KEY_PROCEDURES),
        ground.inventory(1, 40),
        ground.status(1),
        ground.read_number(1),
        ground.start(1),
        build_pdu(Pdu(Procedure.STOP_SA, ground.start(1)[3:])),
    ]
    seeds = [bytes((len(pdu) - 1,)) + pdu for pdu in made]
    return [*seeds, b"".join(seeds)]


def clcw_sequence(octets: bytes) -> None:
    """FOP-1 with frames under way hears whatever CLCWs: no state but the table's, no exception."""
    fop = Fop(0, t1_ns=S, window=10, transmission_limit=3)
    now_ns = 0
    fop.initiate_without_clcw(now_ns)
    for at in range(0, len(octets) - 4, 5):
        now_ns += octets[at] << 24
        if octets[at] & 1:
            with suppress(LocalError):
                fop.send_ad(now_ns, TcFrame(0, b"command", FrameType.AD))
        while (frame := fop.take()) is not None:
            fop.lower_accepts(now_ns, frame.frame_type)
        try:
            clcw = CLCW.parse(octets[at + 1 : at + 5])
        except RemoteError:
            continue
        fop.clcw(now_ns, clcw)
        deadline_ns = fop.next_deadline_ns
        if deadline_ns is not None and deadline_ns <= now_ns:
            fop.timeout(now_ns)
        fop.notices()


def ocf(octets: bytes) -> None:
    (FrameSecurityReport if octets[:1] >= b"\x80" else CLCW).parse(octets)


# Packets -----------------------------------------------------------------------------------------


def one_packet(octets: bytes) -> None:
    packet = space_packet.parse_packet(octets)
    assert space_packet.build_packet(packet) == octets


def back_to_back(octets: bytes) -> None:
    found = space_packet.split(octets, accept_encapsulation=True)
    assert int(found.packets.length.sum()) + len(found.remainder) == len(octets)


def encapsulated(octets: bytes) -> None:
    packet = encapsulation.parse_packet(octets)
    again = encapsulation.parse_packet(encapsulation.build_packet(packet))
    assert again == packet


def sealed(run: Callable[[bytes], object]) -> Callable[[bytes], None]:
    """As it came, and with the error control that it should have: who forges computes it, too."""

    def both(octets: bytes) -> None:
        with suppress(RemoteError):
            run(octets)
        if len(octets) > 2:
            run(octets[:-2] + crc16(octets[:-2]).to_bytes(2, "big"))

    return both


def telemetry(octets: bytes) -> None:
    """Every way in which a packet is looked at: by arrays, by the declaration, in its parts."""
    found = space_packet.split(octets)
    whole = LargeReports(load_profile("l4_relay").large_reports).push(found.packets)
    for start, stop, dictionary in KnownStructures().pieces(whole):
        for table in dictionary.decode(whole.slice(start, stop)):
            for name in table.raw:
                table.engineering(name)
                table.limit_state(name)


def reports() -> list[bytes]:
    made = [build_report(Report(20, 17, 2, 10**18, b"", 1))]
    made += [build_report(Report(20, service, 1, 10**18, bytes(12), 9)) for service in (1, 3, 5)]
    return made


def pus_report(octets: bytes) -> None:
    report = parse_report(octets)
    assert parse_report(build_report(report)) == report


def pus_request(octets: bytes) -> None:
    request = parse_request(octets)
    assert parse_request(build_request(request)) == request


def telecommand(octets: bytes) -> None:
    COMMANDS.parse(octets)


def time_code(kind: Any) -> Callable[[bytes], None]:
    def run(octets: bytes) -> None:
        form = kind.from_p_field(octets, EPOCH_NS)
        try:
            ns = form.parse(octets[: form.size])
        except RemoteError:
            return
        form.build(ns)

    return run


def commands() -> list[bytes]:
    made: list[bytes] = []
    for command in COMMANDS.commands:
        arguments = {a.name: a.default for a in command.given if a.default is not None}
        try:
            made.append(COMMANDS.build(command.name, arguments, sequence_count=1))
        except LocalError:
            continue
    return made


# The whole chain ---------------------------------------------------------------------------------


def chain(profile: Callable[[], LinkProfile], kind: Any) -> Callable[[bytes], None]:
    def run(octets: bytes) -> None:
        whole, cut = ReceiveChain(profile(), input=kind), ReceiveChain(profile(), input=kind)
        once = whole.push(octets[2:], 0)
        outputs = [cut.push(piece, 0) for piece in pieces(octets)]
        total = len(once.packets) + len(whole.finish().packets)
        in_pieces = sum(len(one.packets) for one in outputs) + len(cut.finish().packets)
        assert total == in_pieces
        whole.statistics()
        whole.summary()

    return run


@cache
def short_frames() -> LinkProfile:
    return load_profile(
        frames="aos", frame_length=60, fecf="present", ocf="present", insert_zone=0, scid="any"
    )


@cache
def short_cadus() -> LinkProfile:
    return load_profile(
        frames="tm", frame_length=60, fecf="present", ocf="absent", scid="any", input="cadu"
    )


@cache
def l4_link() -> LinkProfile:
    return load_profile("l4_relay")


def link_seeds() -> list[bytes]:
    return [streamed(cadus()[: 3 * 1279]), streamed(b"\x55" * 37 + cadus()[:2600], (255, 90))]


def sle_pdu(octets: bytes) -> None:
    """Of any service, from either side; what is read is built again as the same."""
    ways = [pdus.to_provider(one) for one in ServiceType]
    ways += [pdus.to_user(one, version) for one in ServiceType for version in (3, 4, 5)]
    for of in ways:
        with suppress(RemoteError):
            pdu = of.parse(octets)
            if not isinstance(pdu, PeerAbort):
                assert of.parse(of.build(pdu)) == pdu


def sle_seeds() -> list[bytes]:
    return [
        of.build(pdu)
        for service in ServiceType
        for of, pdus_of in (
            (pdus.to_provider(service), sle_pdus.to_provider(service)),
            (pdus.to_user(service, 5), sle_pdus.to_user(service, 5)),
        )
        for pdu in examples(pdus_of, 8)
    ]


def sle_transport(octets: bytes) -> None:
    for initiator in (True, False):
        tml = Tml(initiator=initiator)
        tml.connected(EPOCH_NS)
        with suppress(RemoteError):
            for piece in pieces(octets):
                tml.receive(EPOCH_NS, piece)


TARGETS: Final = [
    Target("tm-frame", "protocols.frames.tm.parse", sealed(frame_round_trip(tm, TM)),
           lambda: frames_of(TM, "tm", 10)),
    Target("aos-frame", "protocols.frames.aos.parse", sealed(frame_round_trip(aos, AOS)),
           lambda: frames_of(AOS, "aos", 10)),
    Target("uslp-frame", "protocols.frames.uslp.parse", sealed(frame_round_trip(uslp, USLP)),
           lambda: frames_of(USLP, "uslp", 10)),
    Target("tm-packets", "protocols.packets.extraction.PacketExtractor", extraction(TM),
           lambda: [b"".join(frames_of(TM, "tm", 10))], short=60),
    Target("aos-packets", "protocols.packets.extraction.PacketExtractor", extraction(AOS),
           lambda: [b"".join(frames_of(AOS, "aos", 10))], short=60),
    Target("uslp-packets", "protocols.packets.extraction.PacketExtractor", extraction(USLP),
           lambda: [b"".join(frames_of(USLP, "uslp", 10))], short=60),
    Target("synchroniser", "protocols.coding.sync.FrameSynchroniser", synchroniser,
           lambda: [streamed((ASM + bytes(range(20))) * 4)], short=60),
    Target("cltu-bch", "protocols.coding.cltu.CltuDecoder", cltus(CLTU_CODING),
           lambda: [streamed(transmission([build_cltu(f, CLTU_CODING) for f in tc_frames()[:3]]))],
           short=60),
    Target("cltu-ldpc", "protocols.coding.cltu.CltuDecoder", cltus(CltuCoding("ldpc-128")),
           lambda: [streamed(transmission(
               [build_cltu(tc_frames()[0], CltuCoding("ldpc-128"))]))],
           short=20),
    Target("tc-frame", "protocols.frames.tc.parse", sealed(tc_frame), tc_frames),
    Target("command-link", "protocols.frames.farm.Farm, sdls_frames.process_tc", command_link,
           lambda: [*secured_frames(), b"".join(secured_frames()), b"".join(tc_frames()),
                    *(bytes.fromhex(one["octets"]) for one in recorded("sdls.toml")["frame"])],
           short=60),
    Target("sdls-pdu", "protocols.frames.sdls_procedures.parse_pdu", parse_pdu,
           lambda: [seed[1:] for seed in management_pdus()]),
    Target("key-management", "protocols.frames.sdls_procedures.SecurityUnit", key_management,
           management_pdus, short=60),
    Target("clcw", "protocols.frames.clcw.CLCW, security_report", ocf,
           lambda: [one.build() for one in examples(strategies.clcws, 10)]),
    Target("fop", "protocols.frames.fop.Fop", clcw_sequence,
           lambda: [b"".join(b"\x01" + one.build() for one in examples(strategies.clcws, 30))],
           short=60),
    Target("space-packet", "protocols.packets.space_packet.parse_packet", one_packet,
           lambda: packets()[:20]),
    Target("packet-split", "protocols.packets.space_packet.split", back_to_back,
           lambda: [b"".join(packets()[:6])]),
    Target("encapsulation", "protocols.packets.encapsulation.parse_packet", encapsulated,
           lambda: [encapsulation.build_packet(one)
                    for one in examples(strategies.encapsulation_packets(40), 12)]),
    Target("telemetry", "protocols.telemetry.declaration.Dictionary.decode", telemetry,
           lambda: [*packets(), b"".join(packets()[:8])], short=25),
    Target("pus-report", "protocols.packets.pus.parse_report", sealed(pus_report),
           reports),
    Target("pus-request", "protocols.packets.pus.parse_request", sealed(pus_request),
           commands),
    Target("telecommand", "protocols.telecommand.declaration.CommandDictionary.parse",
           sealed(telecommand),           commands),
    Target("sle-pdu", "protocols.sle.pdus", sle_pdu, sle_seeds, short=60),
    Target("sle-transport", "protocols.sle.tml.Tml", sle_transport,
           lambda: [streamed(bytes.fromhex("020000000000000c4953503100000001000a0002"
                                           "01000000000000050500ff00ff0300000000000000"))],
           short=60),
    Target("cuc", "protocols.timecodes.cuc.CucFormat", time_code(CucFormat),
           lambda: [bytes.fromhex("2f0102030405060708"), bytes.fromhex("1e01020304050607")]),
    Target("cds", "protocols.timecodes.cds.CdsFormat", time_code(CdsFormat),
           lambda: [bytes.fromhex("411234567890abcd00ff"),
                    bytes.fromhex("42123456789012340000ff")]),
    Target("chain-frames", "ground.receive.chain.ReceiveChain", chain(short_frames, "frames"),
           lambda: [streamed(b"".join(frames_of(AOS, "aos", 10)), (59, 70))], short=15),
    Target("chain-cadu", "ground.receive.chain.ReceiveChain", chain(l4_link, "cadu"), link_seeds,
           longest=8192, short=6),
    Target("chain-packets", "ground.receive.chain.ReceiveChain",
           chain(lambda: load_profile(input="packets"), "packets"),
           lambda: [streamed(b"".join(packets()[:6]))], short=15),
]  # fmt: skip
