"""Time reports of the L4 relay in the packets of the downlink (ECSS-E-ST-70-41C §8.9.3).

A report shows the clock at the instant at which the first bit of the sync marker left, of the frame
in which the report's packet begins.  That frame's ERT travels with the packet.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.bus.messages import PacketsMessage
from protocols.dictionary.l4_reports import TIME_REPORT
from protocols.identifiers import Apid
from protocols.telemetry.declaration import Dictionary
from protocols.timecodes.tai import TIME_INVALID_NS

_DICTIONARY: Final = Dictionary("TIME", (TIME_REPORT,))

I64 = npt.NDArray[np.int64]


def time_reports(message: PacketsMessage) -> tuple[I64, I64]:
    """(on-board clock, ERT of the frame), int64 [n] each; stored ones say nothing and are left."""
    chosen = (message.packets.apid == int(Apid.TIME)) & ~message.playback
    none = np.empty(0, np.int64)
    if not chosen.any():
        return none, none
    table = _DICTIONARY.decode(message.packets.select(chosen)).table(TIME_REPORT.name)
    if table is None:
        return none, none
    valid = table.scet_ns != TIME_INVALID_NS
    return table.scet_ns[valid], table.ert_ns[valid]
