"""gr-satellites, from I/Q to frames, as a process of its own, for the system's Python.

Arguments: JSON with `samples` (file of complex64), `frames` (file for frames, back to back),
`sample_rate`, `baud`, `frame_size`, `interleave` and `options` (of its BPSK demodulator).  Each
line on standard input runs the flow graph over the whole file and answers with the seconds it took.
"""

import argparse
import json
import sys
import time
from pathlib import Path


def main() -> None:
    import pmt
    from gnuradio import blocks, gr, pdu

    # Debian's gr-satellites 4.4 asks for names that its GNU Radio 3.10 has moved.
    if not hasattr(blocks, "byte_t"):
        blocks.byte_t = gr.types.byte_t
    for name in ("tagged_stream_to_pdu", "pdu_to_tagged_stream", "pdu_remove", "pdu_set"):
        if not hasattr(blocks, name):
            setattr(blocks, name, getattr(pdu, name, None))
    from satellites.components.deframers import ccsds_concatenated_deframer
    from satellites.components.demodulators import bpsk_demodulator

    told = json.loads(sys.argv[1])
    parser = argparse.ArgumentParser()
    bpsk_demodulator.add_options(parser)
    ccsds_concatenated_deframer.add_options(parser)
    options = parser.parse_args(told["options"])

    class Sink(gr.basic_block):
        """Keeps the frames that come as messages."""

        def __init__(self) -> None:
            gr.basic_block.__init__(self, "sink", in_sig=None, out_sig=None)
            self.frames = []
            self.message_port_register_in(pmt.intern("in"))
            self.set_msg_handler(pmt.intern("in"), self.take)

        def take(self, message) -> None:
            self.frames.append(bytes(pmt.u8vector_elements(pmt.cdr(message))))

    print("ready", flush=True)
    for _ in sys.stdin:
        flow = gr.top_block()
        source = blocks.file_source(gr.sizeof_gr_complex, told["samples"], False)
        demodulator = bpsk_demodulator(told["baud"], told["sample_rate"], iq=True, options=options)
        deframer = ccsds_concatenated_deframer(
            frame_size=told["frame_size"],
            rs_interleaving=told["interleave"],
            syncword_threshold=4,
            options=options,
        )
        sink = Sink()
        flow.connect(source, demodulator, deframer)
        flow.msg_connect((deframer, "out"), (sink, "in"))
        begin = time.perf_counter()
        flow.run()
        took = time.perf_counter() - begin
        Path(told["frames"]).write_bytes(b"".join(sink.frames))
        print("took", took, flush=True)


if __name__ == "__main__":
    main()
