"""Links with turbo and LDPC codes, sliced or not: counted, cut, saved, and what is missing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.receive.chain import ReceiveChain
from ground.receive.inputs import open_input
from ground.receive.output import ChainOutput
from ground.receive.profile import LinkProfile, load_profile
from protocols.coding.codeblocks import marker_of
from protocols.errors import LocalError
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.space_packet import SpacePacket, build_packet

#: Setting: flags, and the part of the channel's bits that arrive wrong.
LINKS: dict[str, tuple[dict[str, Any], float]] = {
    "turbo 1/6": ({"turbo": "1/6", "frame_length": 223}, 0.12),
    "turbo 1/3": ({"turbo": "1/3", "frame_length": 223}, 0.05),
    "AR4JA 1/2": ({"ldpc": "AR4JA 1/2 1024", "frame_length": 128}, 0.04),
    "C2": ({"ldpc": "C2", "frame_length": 892}, 0.002),
    "AR4JA 4/5, sliced": (
        {"ldpc": "AR4JA 4/5 1024", "ldpc_slice": 3, "frame_length": 300, "csm": "034776c7272895b0"},
        0.005,
    ),
    "C2, sliced": ({"ldpc": "C2", "ldpc_slice": 1, "frame_length": 250}, 0.002),
}
FRAMES = {"C2": 12, "AR4JA 4/5, sliced": 30, "C2, sliced": 30}


def profile_of(name: str, **more: Any) -> LinkProfile:
    agreed = {"frames": "aos", "fecf": "present", "ocf": "absent", "scid": 77, **LINKS[name][0]}
    return load_profile(content="packets", randomiser="ccsds", **{**agreed, **more})


@cache
def frames_of(name: str, fecf: str = "present") -> tuple[np.ndarray, tuple[bytes, ...]]:
    """Frames, and the packets that lie in them."""
    rng = np.random.default_rng(2)
    profile = profile_of(name, fecf=fecf)
    multiplexer = FrameMultiplexer(profile.frame_parameters())
    count, packets = FRAMES.get(name, 20), []
    while sum(map(len, packets)) < (count - 2) * profile.frame_length:
        data = rng.bytes(int(rng.integers(20, 120)))
        packets.append(build_packet(SpacePacket(5, data, sequence_count=len(packets))))
        multiplexer.push(2, packets[-1])
    return multiplexer.take(fill=True), tuple(packets)


def bits_of(name: str, fecf: str = "present") -> np.ndarray:
    """Of the channel: codeblocks, uint8 [n, period]."""
    coding = profile_of(name).coding.codeblocks
    assert coding is not None
    information, _ = frames_of(name, fecf)
    if coding.sliced:
        marker = np.frombuffer(bytes.fromhex("1acffc1d"), np.uint8)
        stream = np.concatenate([np.concatenate([marker, frame]) for frame in information])
        short = -len(stream) % coding.data_length
        information = np.pad(stream, (0, short)).reshape(-1, coding.data_length)
    return coding.encode(information)


def noisy(name: str, bits: np.ndarray) -> bytes:
    """Wrong as often as the code bears, behind noise, off the octets' grid."""
    rng = np.random.default_rng(4)
    stream = bits.ravel() ^ (rng.random(bits.size) < LINKS[name][1])
    before, behind = rng.integers(0, 2, 301, np.uint8), rng.integers(0, 2, 50, np.uint8)
    return np.packbits(np.concatenate([before, stream, behind])).tobytes()


def run(chain: ReceiveChain, pieces: list[bytes]) -> list[ChainOutput]:
    return [*(chain.push(piece, 7 + i) for i, piece in enumerate(pieces)), chain.finish()]


def packets_of(outputs: list[ChainOutput]) -> tuple[bytes, ...]:
    found = [one for output in outputs for one in output.packets.select(~output.packets.is_idle)]
    return tuple(bytes(one) for one in found)


@pytest.mark.parametrize("name", list(LINKS))
def test_packets_come_out_whole_and_corrections_are_counted(name: str) -> None:
    bits = bits_of(name)
    chain = ReceiveChain(profile_of(name))
    outputs = run(chain, [noisy(name, bits)])
    assert packets_of(outputs) == frames_of(name)[1]
    counts = chain.statistics().counts
    coding = profile_of(name).coding.codeblocks
    assert coding is not None
    words = len(bits) * coding.words
    assert counts["sync"]["frames"] == len(bits)
    assert counts["coding"]["codewords"] == words
    assert counts["coding"]["clean"] + counts["coding"]["corrected"] == words
    wrong = LINKS[name][1] * words * coding.word_symbols
    assert counts["coding"]["corrected_symbols"] == pytest.approx(wrong, rel=0.2)
    assert counts["coding"]["iterations"] >= words
    assert counts["frames"]["good"] == len(frames_of(name)[0])
    found = chain.summary()
    assert (found["codewords"], found["failed_codewords"]) == (words, 0)
    assert found["symbol_error_rate"] == pytest.approx(LINKS[name][1], rel=0.2)
    assert sum(found["iterations_histogram"].values()) == words


@settings(max_examples=8)
@given(st.sampled_from(sorted(LINKS)), st.lists(st.integers(1, 3000), max_size=12), st.booleans())
def test_any_cut_and_any_snapshot_give_the_same(name: str, sizes: list[int], save: bool) -> None:
    stream = noisy(name, bits_of(name))
    profile = profile_of(name, bit_rate=1e6)
    whole = ReceiveChain(profile)
    expected = [whole.push(stream, 7), whole.finish()]
    chain, outputs, at = ReceiveChain(profile), [], 0
    for size in [*sizes, len(stream)]:
        piece = stream[at : at + size]
        # The same clock, however it is cut.
        outputs.append(chain.push(piece, 7 + round(8000 * at)))
        at += len(piece)
        if save:
            state = msgpack.unpackb(msgpack.packb(chain.snapshot()), strict_map_key=False)
            chain = ReceiveChain(profile)
            chain.restore(state)
    outputs.append(chain.finish())
    assert packets_of(outputs) == packets_of(expected)
    times = [np.concatenate([o.packets.ert_ns for o in some]) for some in (expected, outputs)]
    assert np.abs(times[0] - times[1]).max() <= 1
    assert chain.statistics() == whole.statistics()


def test_a_frame_has_the_time_of_its_first_symbol() -> None:
    """Of a sliced stream too: the symbol of the codeword in which it begins."""
    for name in ("AR4JA 1/2", "AR4JA 4/5, sliced"):
        coding = profile_of(name).coding.codeblocks
        assert coding is not None
        bits = bits_of(name)
        chain = ReceiveChain(profile_of(name, bit_rate=1e9))
        stream = np.packbits(bits.ravel()).tobytes()
        # 1 ns a bit; the first packet of each frame tells its time.
        outputs = [chain.push(stream, 0), chain.finish()]
        times = set(np.concatenate([o.packets.ert_ns for o in outputs]).tolist())
        marker = len(coding.marker_bits)
        if coding.sliced:
            step, k, n = 8 * 304, 8 * coding.code.data_length, coding.word_symbols
            begins = [32 + step * i for i in range(len(frames_of(name)[0]))]
            blocks = [divmod(b, coding.words * k) for b in begins]
            places = [
                block * coding.period + marker + rest // k * n + rest % k for block, rest in blocks
            ]
        else:
            places = [marker + coding.period * i for i in range(len(bits))]
        assert times <= set(places)
        assert len(times) > len(places) // 2


def test_a_codeword_that_fails_is_kept_and_passed_on_nowhere() -> None:
    name = "AR4JA 1/2"
    bits = bits_of(name)
    bits[7, 64:] ^= np.random.default_rng(5).integers(0, 2, bits.shape[1] - 64, np.uint8)
    chain = ReceiveChain(profile_of(name))
    outputs = run(chain, [np.packbits(bits.ravel()).tobytes()])
    rejected = [one for output in outputs for one in output.rejected]
    assert [(one.reason, len(one.frames)) for one in rejected] == [("uncorrectable", 1)]
    counts = chain.statistics().counts
    assert counts["coding"]["uncorrectable"] == counts["frames"]["uncorrectable"] == 1
    assert counts["frames"]["crc_fail"] == 0
    packets = packets_of(outputs)
    assert set(packets) < set(frames_of(name)[1])
    # Its FECF, which here agrees, is no excuse: only the parity was hit.
    bits = bits_of(name)
    bits[7, 64 + 1024 :] ^= np.random.default_rng(5).integers(0, 2, 1024, np.uint8)
    chain = ReceiveChain(profile_of(name))
    run(chain, [np.packbits(bits.ravel()).tobytes()])
    assert chain.statistics().counts["frames"]["uncorrectable"] == 1


@pytest.mark.parametrize("fecf", ["present", "absent"])
@pytest.mark.parametrize("what", ["hit", "missing"])
def test_frames_that_a_lost_slice_touches_are_not_believed(what: str, fecf: str) -> None:
    """Without a FECF they are told by the codewords alone."""
    name = "AR4JA 4/5, sliced"
    coding = profile_of(name).coding.codeblocks
    assert coding is not None
    bits = bits_of(name, fecf)
    k, n = coding.code.data_length, coding.word_symbols
    second = 64 + n
    if what == "hit":
        # The second of the three codewords of codeblock 5.
        bits[5, second : second + n] ^= np.random.default_rng(6).integers(0, 2, n, np.uint8)
        stream = bits.ravel()
        lost = (5 * 3 + 1) * k, (5 * 3 + 2) * k
    else:
        # From there on to the end of the first codeword of codeblock 7, less 100 symbols.
        gap = np.s_[5 * coding.period + second : 7 * coding.period + second - 100]
        stream = np.delete(bits.ravel(), gap)
        lost = (5 * 3 + 1) * k, (7 * 3 + 1) * k
    chain = ReceiveChain(profile_of(name, fecf=fecf))
    outputs = run(chain, [np.packbits(stream).tobytes()])
    frames, packets = frames_of(name, fecf)
    touched = [i for i in range(len(frames)) if 304 * i + 4 < lost[1] and 304 * (i + 1) > lost[0]]
    counts = chain.statistics().counts
    # The newest frame before what is missing may have gone with it.
    fewest = len(frames) - len(touched) - (what == "missing")
    assert fewest <= counts["frames"]["good"] <= len(frames) - len(touched)
    assert counts["slices"]["codeblocks_missing"] == (what == "missing")
    assert counts["frames"]["crc_fail"] == 0
    assert set(packets_of(outputs)) < set(packets)
    kept = sum(len(one.frames) for output in outputs for one in output.rejected)
    assert kept == counts["frames"]["uncorrectable"] > 0


def test_codewords_without_markers() -> None:
    name = "C2"
    coding = profile_of(name).coding.codeblocks
    assert coding is not None
    frames, packets = frames_of(name)
    octets = coding.code.encode(frames).tobytes()  # type: ignore[union-attr]
    chain = ReceiveChain(profile_of(name), input="codewords")
    assert packets_of(run(chain, [octets[:1500], octets[1500:]])) == packets
    assert "sync" not in chain.statistics().counts
    with pytest.raises(LocalError, match="without markers"):
        ReceiveChain(profile_of("C2, sliced"), input="codewords")


@pytest.mark.parametrize("name", ["turbo 1/3", "C2, sliced"])
def test_a_file_is_told_by_its_codeblocks(name: str, tmp_path: Path) -> None:
    file = tmp_path / "pass.bin"
    file.write_bytes(noisy(name, bits_of(name)))
    with open_input(file, profile_of(name)) as opened:
        assert opened.kind == "cadu"
        assert f"{len(bits_of(name))} found" in opened.statement


def test_profiles_say_what_belongs_together() -> None:
    turbo, c2 = profile_of("turbo 1/6").coding, profile_of("C2, sliced").coding
    assert turbo.asm.hex().startswith("25d5c0ce")
    assert turbo.codeblocks is not None
    assert turbo.codeblocks.marker == turbo.asm
    assert c2.asm.hex() == "1acffc1d"
    given = load_profile("l4_relay", rs_parity=0, convolutional="none", turbo="1/2").coding
    assert given.asm.hex() == "034776c7272895b0"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"turbo": "1/2", "frame_length": 1000}, "frame_length = 1000, but a turbo codeword"),
        ({"turbo": "1/5"}, "coding.turbo.rate = '1/5', but one of none, 1/2"),
        ({"ldpc": "AR4JA 1/2 2048"}, "coding.ldpc.code = 'AR4JA 1/2 2048', but one of none"),
        ({"ldpc": "TC 128"}, "coding.ldpc.code = 'TC 128'"),
        ({"ldpc": "C2"}, "frame_length = 1115, but a codeword of .*C2.* carries 892 octets"),
        ({"ldpc": "C2", "ldpc_slice": 9}, "coding.ldpc.slice = 9, but an integer 0..8"),
        ({"ldpc": "C2", "ldpc_slice": 1, "frame_length": 2049}, "up to 2048 octets of AOS"),
        ({"ldpc": "C2", "turbo": "1/2"}, "one code alone"),
        ({"ldpc": "C2", "frame_length": 892, "csm": "1acffc1d"}, "give --ldpc-slice"),
        ({"ldpc_slice": 2}, "give --ldpc as well"),
        ({"turbo": "1/2", "rs_parity": 32, "rs_interleave": 5}, "Reed-Solomon code: one alone"),
        (
            {"turbo": "1/2", "convolutional": "1/2", "modulation": "bpsk", "symbol_rate": 1e5},
            "radio.convolutional = '1/2': one alone",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(LocalError, match=words):
        load_profile(**{"frames": "aos", "frame_length": 1115, **flags})


def test_soft_symbols_want_a_code_that_takes_them() -> None:
    from protocols.physical.demodulator import SoftSymbols

    chain = ReceiveChain(load_profile("l4_relay"))
    with pytest.raises(LocalError, match="take no soft symbols"):
        chain.push_symbols(SoftSymbols(np.zeros(4, np.float32), np.zeros(0, np.int64)), 0)


@pytest.mark.parametrize("flags", [{"turbo": "1/2"}, {"ldpc": "C2", "frame_length": 892}])
def test_a_code_that_is_given_stands_in_the_place_of_the_missions(flags: dict[str, Any]) -> None:
    coding = load_profile("l4_relay", **flags).coding
    assert coding.reed_solomon is None
    assert coding.codeblocks is not None
    assert coding.asm == marker_of(coding.codeblocks.code)
    assert load_profile("l4_relay", turbo="none").coding.reed_solomon is not None
