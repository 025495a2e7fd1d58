"""Link security: CryptoLib's vectors, every refusal, frames of all kinds, keys and associations."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.frames import aos, tc, tm, uslp
from protocols.frames.parameters import FrameParameters
from protocols.frames.sdls import (
    Channel,
    Processed,
    Refusal,
    SaParameters,
    SaState,
    SecurityEndpoint,
    Service,
)
from protocols.frames.sdls_frames import open_frame, process_tc, protect_tc, secure_frame
from protocols.frames.sdls_keys import KeyEvent, KeyState, KeyStore
from protocols.frames.sdls_procedures import (
    KeyChallenge,
    KeyIds,
    Otar,
    Pdu,
    Procedure,
    RekeySa,
    SecurityUnit,
    SetArsn,
    SetArsnWindow,
    SpiRequest,
    build_pdu,
    is_answer,
    parse_pdu,
)
from protocols.frames.tc import FrameType, TcFrame, TcParameters
from tests.strategies import aos_frames, tm_frames, uslp_frames

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
VECTORS = tomllib.loads((CAPTURES / "sdls.toml").read_text())
LINK = TcParameters(scid=3)
HERE = Channel(0, 3, 0)
KEY = bytes(range(32))


def endpoint(*agreed: SaParameters, key: bytes = KEY) -> SecurityEndpoint:
    """Every association operational, each with a key of its own."""
    keys = KeyStore({0: bytes(32)})
    end = SecurityEndpoint(keys, agreed)
    for parameters in agreed:
        keys.load(parameters.spi, key)
        keys.move(parameters.spi, KeyEvent.ACTIVATE)
        end.rekey(parameters.spi, parameters.spi)
        end.start(parameters.spi)
    return end


def one(service: Service, **arguments: Any) -> SaParameters:
    return SaParameters(5, service, {HERE}, **arguments)


@pytest.mark.parametrize("vector", VECTORS["frame"], ids=lambda v: v["origin"])
def test_frames_of_others(vector: dict[str, Any]) -> None:
    octets = bytes.fromhex(vector["octets"])
    before, field = octets[: vector["before"]], octets[vector["before"] : -2]
    spi = int.from_bytes(field[:2], "big")
    agreed = SaParameters(
        spi, Service[vector["service"]], {HERE}, mask=bytes.fromhex(vector["mask"])
    )
    end = endpoint(agreed, key=bytes.fromhex(vector["key"]))
    # CryptoLib begins with number 0 in some of its tests: what is sent is one more than the last.
    end.association(spi).number = vector["number"] - 1
    data = bytes.fromhex(vector["data"])
    assert end.apply(spi, HERE, before, data) == field
    end.association(spi).number = vector["number"] - 1
    assert end.process(HERE, before, field) == Processed(data, None, spi, vector["number"])


def test_encryption_of_nist() -> None:
    vector = VECTORS["nist"]
    end = endpoint(one(Service.AUTHENTICATED_ENCRYPTION), key=bytes.fromhex(vector["key"]))
    end.association(5).number = int(vector["iv"], 16) - 1
    field = end.apply(5, HERE, b"", bytes.fromhex(vector["data"]))
    assert field[2:14].hex() == vector["iv"]
    assert field[14:-16].hex() == vector["encrypted"]


@given(
    st.binary(max_size=30), st.binary(min_size=1, max_size=60), st.binary(max_size=40),
    st.integers(8, 16),
)  # fmt: skip
def test_algorithms_are_those_named(
    before: bytes, data: bytes, mask: bytes, mac_length: int
) -> None:
    """Written out again with the library's other faces."""
    agreed = one(Service.AUTHENTICATION, mask=mask, mac_length=mac_length)
    field = endpoint(agreed).apply(5, HERE, before, data)
    payload = before + field[:6] + data
    full = mask[: len(payload)] + b"\xff" * (len(payload) - len(mask))
    cmac = CMAC(AES(KEY))
    cmac.update(bytes(a & b for a, b in zip(payload, full, strict=True)))
    assert field == b"\x00\x05\x00\x00\x00\x01" + data + cmac.finalize()[:mac_length]

    field = endpoint(one(Service.AUTHENTICATED_ENCRYPTION)).apply(5, HERE, before, data)
    assert field[14:] == AESGCM(KEY).encrypt(field[2:14], data, before + field[:2] + bytes(12))

    field = endpoint(one(Service.ENCRYPTION)).apply(5, HERE, before, data)
    stream = b"".join(
        block_of(field[2:14] + n.to_bytes(4, "big")) for n in range(-(-len(data) // 16))
    )
    assert field[14:] == bytes(a ^ b for a, b in zip(data, stream, strict=False))


def block_of(counter: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import ECB

    encryptor = Cipher(AES(KEY), ECB()).encryptor()
    return encryptor.update(counter) + encryptor.finalize()


def test_every_refusal() -> None:
    other = SaParameters(6, Service.AUTHENTICATION, {Channel(0, 3, 1)})
    sender, receiver = (endpoint(one(Service.AUTHENTICATION, window=10), other) for _ in range(2))

    def refusal(field: bytes, channel: Channel = HERE) -> Refusal | None:
        return receiver.process(channel, b"head", field).refusal

    fields = [sender.apply(5, HERE, b"head", bytes([n])) for n in range(20)]
    assert refusal(fields[0]) is None
    assert refusal(fields[0]) is Refusal.REPLAYED
    assert refusal(fields[5]) is None
    assert refusal(fields[4]) is Refusal.REPLAYED
    assert refusal(fields[16]) is Refusal.BEYOND_WINDOW
    assert refusal(fields[15]) is None
    assert refusal(b"\x00") is Refusal.TOO_SHORT
    assert refusal(fields[16][:22]) is Refusal.TOO_SHORT
    assert refusal(b"\x00\x09" + fields[16][2:]) is Refusal.UNKNOWN_SPI
    assert refusal(fields[16], Channel(0, 3, 2)) is Refusal.WRONG_CHANNEL
    assert refusal(b"\x00\x06" + fields[16][2:]) is Refusal.WRONG_CHANNEL
    for place in range(16, 8 * len(fields[16])):
        changed = bytearray(fields[16])
        changed[place // 8] ^= 0x80 >> place % 8
        assert refusal(bytes(changed)) in {
            Refusal.BAD_MAC,
            Refusal.REPLAYED,
            Refusal.BEYOND_WINDOW,
        }
    assert receiver.process(HERE, b"heaD", fields[16]).refusal is Refusal.BAD_MAC
    receiver.keys.move(5, KeyEvent.DEACTIVATE)
    assert refusal(fields[16]) is Refusal.KEY_NOT_ACTIVE
    receiver.stop(5)
    assert refusal(fields[16]) is Refusal.NOT_OPERATIONAL
    assert receiver.statistics["accepted"] == 3
    assert receiver.statistics[Refusal.REPLAYED] >= 2
    assert set(receiver.statistics) == {"accepted", *Refusal}


def test_unauthenticated_data_are_given_out_as_they_come() -> None:
    """Encryption alone protects from reading, not from change or replay."""
    sender, receiver = (endpoint(one(Service.ENCRYPTION)) for _ in range(2))
    field = sender.apply(5, HERE, b"", b"\x00\x00")
    assert field[14:] != b"\x00\x00"
    changed = field[:-1] + bytes([field[-1] ^ 1])
    assert receiver.process(HERE, b"", changed).data == b"\x00\x01"
    assert receiver.process(HERE, b"", field).data == b"\x00\x00"


def test_rekeying_and_used_up_numbers() -> None:
    agreed = one(Service.AUTHENTICATION, sequence_number_length=1)
    sender, receiver = endpoint(agreed), endpoint(agreed)
    for _ in range(255):
        field = sender.apply(5, HERE, b"", b"x")
        assert receiver.process(HERE, b"", field).data == b"x"
    with pytest.raises(LocalError, match="sequence number 256"):
        sender.apply(5, HERE, b"", b"x")
    for end in (sender, receiver):
        end.keys.load(9, bytes(16))
        end.keys.move(9, KeyEvent.ACTIVATE)
        end.stop(5)
        with pytest.raises(LocalError, match="rekey while KEYED"):
            end.rekey(5, 9)
        end.expire(5)
        with pytest.raises(LocalError, match="key 5 for SPI 5: SPI 5 has had it"):
            end.rekey(5, 5)
        end.rekey(5, 9)
        end.start(5)
    fresh = sender.apply(5, HERE, b"", b"y")
    assert receiver.process(HERE, b"", fresh).data == b"y"
    # What was sent under the old key is none of the new one's.
    assert receiver.process(HERE, b"", field).refusal is Refusal.BAD_MAC


def test_no_iv_is_used_twice() -> None:
    sender = endpoint(one(Service.AUTHENTICATED_ENCRYPTION))
    for _ in range(3):
        sender.apply(5, HERE, b"", b"x")
    with pytest.raises(LocalError, match="3 was sent already"):
        sender.set_number(5, 2)
    sender.set_number(5, 100)
    assert sender.apply(5, HERE, b"", b"x")[13] == 101


def test_roll_over_without_a_gap() -> None:
    """Frames under the old key that are still under way are taken after those of the new one."""
    old, new = one(Service.AUTHENTICATED_ENCRYPTION), SaParameters(
        6, Service.AUTHENTICATED_ENCRYPTION, {HERE}
    )  # fmt: skip
    sender, receiver = endpoint(old, new), endpoint(old, new)
    late = sender.apply(5, HERE, b"", b"late")
    assert receiver.process(HERE, b"", sender.apply(6, HERE, b"", b"first")).data == b"first"
    assert receiver.process(HERE, b"", late).data == b"late"
    for end in (sender, receiver):
        end.stop(5)
        end.keys.move(5, KeyEvent.DEACTIVATE)
    assert receiver.process(HERE, b"", sender.apply(6, HERE, b"", b"next")).data == b"next"


def test_snapshots_go_on_where_they_were() -> None:
    sender, receiver = (endpoint(one(Service.AUTHENTICATED_ENCRYPTION)) for _ in range(2))
    first = sender.apply(5, HERE, b"", b"1")
    assert receiver.process(HERE, b"", first).data == b"1"
    ends: list[SecurityEndpoint] = []
    for end in (sender, receiver):
        again = SecurityEndpoint(end.keys, [one(Service.AUTHENTICATED_ENCRYPTION)])
        again.restore(msgpack.unpackb(msgpack.packb(end.snapshot())))
        assert again.snapshot() == end.snapshot()
        ends.append(again)
    second = ends[0].apply(5, HERE, b"", b"2")
    assert second[:14] != first[:14]
    assert ends[1].process(HERE, b"", first).refusal is Refusal.REPLAYED
    assert ends[1].process(HERE, b"", second).data == b"2"
    ends[0].stop(5)
    ends[0].expire(5)
    with pytest.raises(LocalError, match="IVs would repeat"):
        ends[0].rekey(5, 5)


@given(st.data())
def test_tc_frames(data: st.DataObject) -> None:
    service = data.draw(st.sampled_from(Service))
    link = TcParameters(
        scid=3, without_segment_header=frozenset({0} if data.draw(st.booleans()) else ())
    )
    ground, spacecraft = endpoint(one(service)), endpoint(one(service))
    for n in range(3):
        frame = TcFrame(
            0,
            data.draw(st.binary(min_size=1, max_size=50)),
            data.draw(st.sampled_from([FrameType.AD, FrameType.BD])),
            map_id=0 if link.without_segment_header else data.draw(st.integers(0, 63)),
        )
        secured = protect_tc(ground, 5, frame, link)
        # FOP-1 numbers frames after security is applied.
        number = n if frame.frame_type is FrameType.AD else 0
        octets = tc.build(
            TcFrame(0, secured.data, frame.frame_type, number, frame.map_id, frame.sequence_flags),
            link,
        )
        assert process_tc(spacecraft, tc.parse(octets, link), link).data == frame.data


def test_a_map_of_its_own() -> None:
    agreed = SaParameters(5, Service.AUTHENTICATION, {Channel(0, 3, 0, 7)})
    ground, spacecraft = endpoint(agreed), endpoint(agreed)
    secured = protect_tc(ground, 5, TcFrame(0, b"x", map_id=7), LINK)
    assert process_tc(spacecraft, secured, LINK).data == b"x"
    with pytest.raises(LocalError, match="does not protect"):
        protect_tc(ground, 5, TcFrame(0, b"x", map_id=8), LINK)
    for wrong in (protect_tc(ground, 5, TcFrame(0, b"x", map_id=7), LINK),):
        moved = TcFrame(0, wrong.data, map_id=8)
        assert process_tc(spacecraft, moved, LINK).refusal is Refusal.WRONG_CHANNEL
    with pytest.raises(LocalError, match="control commands"):
        protect_tc(ground, 5, TcFrame(0, b"\x00", FrameType.BC), LINK)


DOWNLINKS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "tm": (tm, tm_frames),
    "aos": (aos, aos_frames),
    "uslp": (uslp, uslp_frames),
}


@pytest.mark.parametrize("kind", DOWNLINKS)
@settings(max_examples=60)
@given(st.data())
def test_downlink_frames(kind: str, data: st.DataObject) -> None:
    module, strategy = DOWNLINKS[kind]
    parameters = FrameParameters(
        kind,  # type: ignore[arg-type]
        data.draw(st.integers(60, 120)),
        fecf=data.draw(st.sampled_from(["absent", "crc16"])),
        ocf=kind == "aos" and data.draw(st.booleans()),
        insert_zone_length=0 if kind == "tm" else data.draw(st.sampled_from([0, 4])),
    )
    frame = data.draw(strategy(parameters).filter(lambda f: not getattr(f, "truncated", False)))
    plain = module.build(frame, parameters)
    version, map_id = {"tm": (0, -1), "aos": (1, -1)}.get(kind, (12, getattr(frame, "map_id", -1)))
    channel = Channel(version, frame.scid, frame.vcid, map_id)
    agreed = SaParameters(5, data.draw(st.sampled_from(Service)), {channel})
    spacecraft, ground = endpoint(agreed), endpoint(agreed)
    secured = secure_frame(spacecraft, 5, plain, parameters)
    assert len(secured) == len(plain) + agreed.overhead
    assert open_frame(ground, secured, parameters) == (plain, None)
    if agreed.authenticates:
        assert open_frame(ground, secured, parameters) == (None, Refusal.REPLAYED)
        if parameters.fecf == "absent":
            # The first octet after the security header, and the virtual channel.
            at = secured.index(agreed.spi.to_bytes(2, "big") + spacecraft_number(spacecraft))
            at += agreed.header_length
            spacecraft.apply(5, channel, b"", b"x")
            fresh = bytearray(secure_frame(spacecraft, 5, plain, parameters))
            fresh[at] ^= 1
            assert open_frame(ground, bytes(fresh), parameters) == (None, Refusal.BAD_MAC)


def spacecraft_number(end: SecurityEndpoint) -> bytes:
    association = end.association(5)
    return association.number.to_bytes(association.parameters.number_length, "big")


def test_what_is_no_frame() -> None:
    parameters = FrameParameters("tm", 20, fecf="crc16")
    end = endpoint(SaParameters(5, Service.AUTHENTICATION, {Channel(0, 3, 0)}))
    for octets in (b"", bytes(5), bytes(20)):
        with pytest.raises(RemoteError):
            open_frame(end, octets, parameters)
    truncated = FrameParameters("uslp", 40, truncated_length=10)
    with pytest.raises(RemoteError, match="truncated"):
        open_frame(end, b"\xc0\x00\x00\x01" + bytes(20), truncated)


# Extended procedures -------------------------------------------------------------------------


def test_otar_of_cryptolib() -> None:
    vector = VECTORS["otar"]
    master = bytes.fromhex(vector["master_key"])
    data = bytes.fromhex(vector["data"])
    message = Otar.parse(data, master)
    assert [key_id for key_id, _ in message.keys] == vector["key_ids"]
    assert message.build(master) == data
    with pytest.raises(RemoteError, match="MAC"):
        Otar.parse(data, bytes(32))


def test_tags_of_cryptolib() -> None:
    for name, tag in VECTORS["tags"].items():
        if name != "origin":
            assert build_pdu(Pdu(Procedure[name]))[:1].hex() == tag


@given(st.sampled_from(Procedure), st.binary(max_size=80), st.booleans())
def test_pdus(procedure: Procedure, data: bytes, reply: bool) -> None:
    pdu = Pdu(procedure, data, reply)
    assert parse_pdu(build_pdu(pdu)) == pdu


def security_unit() -> SecurityUnit:
    keys = KeyStore({1: KEY})
    agreed = [one(Service.AUTHENTICATED_ENCRYPTION)]
    return SecurityUnit(SecurityEndpoint(keys, agreed))


def command(procedure: Procedure, data: bytes) -> bytes:
    return build_pdu(Pdu(procedure, data))


def test_a_key_from_its_arrival_to_its_end() -> None:
    unit = security_unit()
    session = bytes(range(100, 132))
    otar = command(Procedure.OTAR, Otar(1, bytes(12), ((141, session),)).build(KEY))
    assert unit.execute(otar) == b""
    assert unit.execute(otar) is None
    ids = KeyIds((141,)).build()
    challenge = KeyChallenge(((141, b"0123456789abcdef"),))
    early = unit.execute(command(Procedure.VERIFY_KEYS, challenge.build()))
    assert early is not None
    assert is_answer(parse_pdu(early).data, 141, session, b"0123456789abcdef")
    assert unit.execute(command(Procedure.ACTIVATE_KEYS, ids)) == b""
    reply = unit.execute(command(Procedure.VERIFY_KEYS, challenge.build()))
    assert reply is not None
    answer = parse_pdu(reply)
    assert (answer.procedure, answer.reply) == (Procedure.VERIFY_KEYS, True)
    assert is_answer(answer.data, 141, session, b"0123456789abcdef")
    assert not is_answer(answer.data, 141, KEY, b"0123456789abcdef")

    rekey = RekeySa(5, 141, 40).build(12)
    for procedure, data in (
        (Procedure.REKEY_SA, rekey),
        (Procedure.START_SA, SpiRequest(5).build()),
        (Procedure.SET_ARSN, SetArsn(5, 77).build(12)),
        (Procedure.SET_ARSN_WINDOW, SetArsnWindow(5, 9).build(1)),
    ):
        assert unit.execute(command(procedure, data)) == b""
    association = unit.endpoint.association(5)
    assert (association.state, association.number, association.window) == (
        SaState.OPERATIONAL,
        77,
        9,
    )
    reply = unit.execute(command(Procedure.READ_ARSN, SpiRequest(5).build()))
    assert reply is not None
    assert reply.hex() == "900070" + "0005" + (77).to_bytes(12, "big").hex()
    reply = unit.execute(command(Procedure.SA_STATUS, SpiRequest(5).build()))
    assert reply is not None
    assert parse_pdu(reply).data.hex() == "00051b"
    reply = unit.execute(command(Procedure.KEY_INVENTORY, bytes.fromhex("0000ffff")))
    assert reply is not None
    assert parse_pdu(reply).data.hex() == "0001008d01"

    assert unit.execute(command(Procedure.EXPIRE_SA, SpiRequest(5).build())) is None
    assert unit.execute(command(Procedure.STOP_SA, SpiRequest(5).build())) == b""
    assert unit.execute(command(Procedure.EXPIRE_SA, SpiRequest(5).build())) == b""
    assert unit.execute(command(Procedure.REKEY_SA, rekey)) is None
    assert unit.execute(command(Procedure.DESTROY_KEYS, ids)) is None
    assert unit.execute(command(Procedure.DEACTIVATE_KEYS, ids)) == b""
    assert unit.execute(command(Procedure.ACTIVATE_KEYS, ids)) is None
    assert unit.execute(command(Procedure.DESTROY_KEYS, ids)) == b""
    assert unit.endpoint.keys.state(141) is KeyState.DESTROYED
    assert unit.execute(command(Procedure.PING, b"")) == bytes.fromhex("b10000")
    assert unit.execute(command(Procedure.VERIFY_KEYS, challenge.build())) is None
    assert unit.refused == 6


def test_all_keys_of_a_command_or_none() -> None:
    unit = security_unit()
    for key_id in (10, 11):
        unit.endpoint.keys.load(key_id, KEY)
    unit.endpoint.keys.move(11, KeyEvent.ACTIVATE)
    assert unit.execute(command(Procedure.ACTIVATE_KEYS, KeyIds((10, 11)).build())) is None
    assert unit.endpoint.keys.state(10) is KeyState.PRE_ACTIVE
    otar = Otar(1, bytes(12), ((12, KEY), (11, KEY))).build(KEY)
    assert unit.execute(command(Procedure.OTAR, otar)) is None
    assert list(unit.endpoint.keys) == [10, 11]


@given(st.sampled_from(Procedure), st.binary(max_size=60))
def test_arbitrary_pdus_are_refused_or_executed(procedure: Procedure, data: bytes) -> None:
    unit = security_unit()
    unit.endpoint.keys.load(0x100, KEY)
    for octets in (data, command(procedure, data), command(procedure, b"\x00\x05" + data)):
        before = unit.refused + unit.executed.total()
        unit.execute(octets)
        assert unit.refused + unit.executed.total() == before + 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: one(Service.AUTHENTICATION, mac_length=7),
        lambda: one(Service.AUTHENTICATION, sequence_number_length=9),
        lambda: one(Service.AUTHENTICATION, window=0),
        lambda: SaParameters(0, Service.ENCRYPTION, {HERE}),
        lambda: SaParameters(5, Service.ENCRYPTION, set()),
        lambda: endpoint(one(Service.ENCRYPTION), one(Service.ENCRYPTION)),
        lambda: endpoint(one(Service.ENCRYPTION)).apply(6, HERE, b"", b"x"),
        lambda: endpoint(one(Service.ENCRYPTION)).set_number(5, -1),
        lambda: KeyStore({0: bytes(5)}),
        lambda: KeyStore({70_000: bytes(16)}),
        lambda: KeyStore({0: bytes(16)}).load(0, bytes(16)),
        lambda: KeyStore().state(1),
        lambda: KeyStore().value(1),
        lambda: KeyStore().master(1),
        lambda: Otar(1, bytes(11), ()).build(KEY),
        lambda: Otar(1, bytes(12), ((1, bytes(16)),)).build(KEY),
        lambda: KeyChallenge(((1, b""),)).build(),
        lambda: SpiRequest(65_536).build(),
        lambda: build_pdu(Pdu(Procedure.PING, bytes(8192))),
    ],
)
def test_mistakes_are_named(wrong: object) -> None:
    with pytest.raises(LocalError):
        wrong()  # type: ignore[operator]
