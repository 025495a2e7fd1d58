"""An antenna's modem that has heard a recording: `python -m tests.end_to_end.antenna`.

Arguments: file of CADUs, octets of one, endpoint, keys directory, ERT of the first and ns between,
frames missed as FIRST:LAST.  Ends with its standard input.
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

from spacecraft_sim.adapters.curve import StationKeys
from spacecraft_sim.adapters.zmq_link import ZmqStation
from spacecraft_sim.station_buffer import StationBuffer


def main(file: str, size: str, endpoint: str, keys: str, ert: str, step: str, missed: str) -> None:
    octets, length = Path(file).read_bytes(), int(size)
    first, last = map(int, missed.split(":"))
    buffer = StationBuffer(f"{endpoint} {missed}")
    for i in range(len(octets) // length):
        if not first <= i <= last:
            buffer.put(int(ert) + i * int(step), octets[i * length : (i + 1) * length])
    station = ZmqStation(endpoint, buffer, StationKeys(Path(keys)))
    told_s = 0.0
    while not select.select([sys.stdin], [], [], 0)[0]:
        station.exchange(0.02)
        if time.monotonic() - told_s > 0.5:
            told_s = time.monotonic()
            station.send_state(carrier=True, owlt_s=499.0)
    station.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
