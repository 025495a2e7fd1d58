"""GNU Radio's Viterbi decoder as a process of its own, for the system's Python.

Arguments: a file of soft symbols (uint8, 0 to 255) and a file for the decoded bits.  Each line on
standard input decodes the whole file once and answers with the number of bits; the first run writes
them.  Symbols are given as the octets that the decoder wants, so that no conversion is timed.
"""

import sys
from array import array
from pathlib import Path

G1, G2 = 0o117, 0o155  # 171 and 133 octal with the newest bit last; negative: inverted
#: The fastest of 2,048 … 65,536 here.
FRAME_BITS = 60_000


def main() -> None:
    from gnuradio import blocks, fec, gr

    symbols = list(Path(sys.argv[1]).read_bytes())
    source = blocks.vector_source_b(symbols, False)
    mode = fec.CC_STREAMING
    code = fec.cc_decoder.make(FRAME_BITS, 7, 2, [G1, -G2], 0, -1, mode, False)
    decoder = fec.decoder(code, 1, 1)
    sink = blocks.vector_sink_b()
    flow = gr.top_block()
    flow.connect(source, decoder, sink)
    written = False
    print("ready", flush=True)
    for _ in sys.stdin:
        source.rewind()
        sink.reset()
        flow.run()
        if not written:
            Path(sys.argv[2]).write_bytes(array("B", sink.data()).tobytes())
            written = True
        print(FRAME_BITS * (len(symbols) // (2 * FRAME_BITS)), flush=True)


if __name__ == "__main__":
    main()
