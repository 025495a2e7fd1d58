"""Files through 499 s of light time and 10 % loss each way, both ends killed -9 again and again.

    python -m tests.long.cfdp            # 10 MB each way: processes; then TC and AOS frames
    python -m tests.long.cfdp --octets 1000000 --seeds 3

Every file must arrive, bit for bit, and both ends must know.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ground.command.files import FileTransfers
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from protocols.dictionary.l4_link import SIMULATION_KEY, file_security, file_uplink
from protocols.identifiers import Apid, Carrier, VirtualChannel
from spacecraft_sim.scenario import FileSettings, Mars, UplinkRates, load
from spacecraft_sim.spacecraft import Spacecraft
from spacecraft_sim.subsystems.common import Uplink
from tests.long.cfdp_processes import Process
from tests.protocols.files.air import OWLT_NS, Air, S


@dataclass(frozen=True)
class Outcome:
    """simulated_s until both ends know; kills: of processes, or restarts on board."""

    octets: int
    simulated_s: float
    wall_s: float
    sent_octets: int
    kills: int

    def __str__(self) -> str:
        return (
            f"{self.octets} octets in {self.simulated_s / 3600:.2f} h, {self.wall_s:.1f} s of wall "
            f"time; {self.sent_octets / self.octets:.3f} octets sent for each; {self.kills} kills"
        )


def processes(directory: Path, octets: int, seed: int, *, kill: float, loss: float) -> Outcome:
    """A file up and a file down at once, packets between two processes.  Raises AssertionError."""
    began_s = time.perf_counter()
    rng = random.Random(seed)
    up, down = rng.randbytes(octets), rng.randbytes(octets)
    (directory / "up.bin").write_bytes(up)
    (directory / "down.bin").write_bytes(down)
    ends = [
        Process(side, directory / name, seed + side, kill)
        for side, name in enumerate(("ground", "space"))
    ]
    air = Air(
        [lambda _: ends[0], lambda _: ends[1]],
        loss=loss,
        seed=seed,
        octets_s=max(1_000, octets // 400),
    )
    ends[0].put(0, directory / "up.bin", "up.bin")
    ends[1].put(0, directory / "down.bin", "down.bin")

    def ended() -> bool:
        return all(end.states == ["complete", "complete"] for end in ends)

    assert air.run(ended), f"seed {seed}: {[end.states for end in ends]}"
    for end in ends:
        end.end()
    assert (directory / "space" / "received" / "up.bin").read_bytes() == up
    assert (directory / "ground" / "received" / "down.bin").read_bytes() == down
    sent = sum(len(packet) for log in air.log for packet in log)
    kills = sum(end.kills for end in ends)
    wall_s = time.perf_counter() - began_s
    return Outcome(2 * octets, air.now_ns / S, wall_s, sent, kills)


def frames(
    directory: Path, octets: int, seed: int, *, bit_s: int, loss: float, restarts: int
) -> Outcome:
    """A file up and a file down through the spacecraft: CLTUs and CADUs are lost, not packets.

    restarts: of the file service on board, which keeps what is in the mass memory.
    """
    began_s = time.perf_counter()
    rng = random.Random(seed)
    up, down = rng.randbytes(octets), rng.randbytes(octets)
    (directory / "file.bin").write_bytes(up)
    scenario = load("nominal")
    scenario = replace(
        scenario,
        mars=Mars(present=False),
        uplink=UplinkRates(command_bit_s=bit_s),
        downlink=replace(scenario.downlink, information_rate_bit_s=max(2 * bit_s, 16_000)),
        files=FileSettings(to_earth_bit_s=bit_s),
    )
    start_ns = 2_000_000_000 * S
    craft = Spacecraft(scenario, seed=seed, start_ns=start_ns)
    transfers = FileTransfers(directory / "ground", now_ns=start_ns, owlt_ns=OWLT_NS)
    security = file_security(SIMULATION_KEY)
    chain = ReceiveChain(load_profile("l4_relay"), input="cadu")
    way_up: deque[tuple[int, bytes]] = deque()
    way_down: deque[tuple[int, bytes]] = deque()
    store = craft.software.files.store
    store.files["down.bin"] = down
    transfers.put(start_ns, directory / "file.bin", "in/file.bin")
    transfers.get(start_ns, "down.bin", "got/down.bin")
    now_ns, sent, left = start_ns, 0, restarts
    turn_ns = 5 * S
    room = bit_s * turn_ns // (8 * S)
    while now_ns < start_ns + 20 * 86_400 * S:
        packets = transfers.take(now_ns, room)
        sent += sum(map(len, packets))
        way_up.extend(
            (now_ns + OWLT_NS, file_uplink(security, [packet]))
            for packet in packets
            if rng.random() >= loss
        )
        arrived: list[bytes] = []
        while way_up and way_up[0][0] <= now_ns:
            arrived.append(way_up.popleft()[1])
        if left and rng.random() < 0.01:
            left -= 1
            craft.software.files.restart()
        uplink = [Uplink(Carrier.COMMAND, b"".join(arrived))] if arrived else []
        downlink = craft.step(now_ns, uplink)
        for cadu, emission_ns in zip(downlink.cadus, downlink.emission_ns.tolist(), strict=True):
            if rng.random() >= loss:
                way_down.append((emission_ns + OWLT_NS, cadu.tobytes()))
        chunks: list[tuple[bytes, int]] = []
        while way_down and way_down[0][0] <= now_ns:
            ert_ns, cadu_octets = way_down.popleft()
            chunks.append((cadu_octets, ert_ns))
        if chunks:
            batch = chain.push_chunks(chunks).packets
            mine = batch.select(np.flatnonzero(batch.apid == Apid.FILES))
            assert set(mine.vcid.tolist()) <= {VirtualChannel.FILES}
            sent += len(mine.octets)
            transfers.hear(now_ns, list(mine))
        here = {one.state for one in transfers.listing()} == {"complete"}
        if here and all(record.state.ended for record in store.records()):
            break
        now_ns += turn_ns
    else:
        raise AssertionError(f"seed {seed}: {transfers.listing()}")
    assert store.files["in/file.bin"] == up
    assert (transfers.received / "got" / "down.bin").read_bytes() == down
    transfers.close()
    wall_s = time.perf_counter() - began_s
    return Outcome(2 * octets, (now_ns - start_ns) / S, wall_s, sent, restarts - left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--octets", type=int, default=10_000_000)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as directory:
            outcome = processes(Path(directory), options.octets, seed, kill=0.1, loss=0.1)
            print(f"seed {seed}, processes: {outcome}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            outcome = frames(
                Path(directory), options.octets, seed, bit_s=128_000, loss=0.1, restarts=5
            )
            print(f"seed {seed}, TC and AOS frames: {outcome}", flush=True)


if __name__ == "__main__":
    main()
