"""`python -m tests.long.ltp`: blocks through 499 s of light time and 20 % loss, and many sessions.

Twenty bundles of 10 kB, a block each, 1,400-octet segments, each segment lost with 20 % each way.
What had come when the first retransmission could be there (1,497 s: three light times) is the
figure; ION had 8 of 20, and 14.4 is what a sender that repeats no data could reach if no checkpoint
and no report were ever lost: 20 · 0.96^8.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

from protocols.dtn.ltp_parameters import DEEP_SPACE, LtpParameters, ReportScope
from tests.long.ltp_span import SECOND_NS, Span

LIGHT_TIME_S = 499.0
LOSS = 0.2
BLOCKS = 20
BLOCK = bytes(range(256)) * 39 + bytes(16)
#: What is mended at the first reports is there: there, back, and there again.
DEADLINE_NS = 1_497 * SECOND_NS
PATIENCE_NS = 1_000_000 * SECOND_NS

PLAIN = LtpParameters(margin_s=5.0, retransmission_limit=30)
VARIANTS: dict[str, LtpParameters] = {
    "one checkpoint, one report": PLAIN,
    "the last 3 segments checkpoints, full reports (§6.11)": replace(
        PLAIN, final_checkpoints=3, report_scope=ReportScope.FULL
    ),
    "the same, reports twice (§6.8, §6.13)": replace(
        PLAIN, final_checkpoints=3, report_scope=ReportScope.FULL, report_copies=2
    ),
    "one checkpoint twice (§6.8 b)": replace(PLAIN, checkpoint_copies=2),
    "DEEP_SPACE": DEEP_SPACE,
    "the last 3 checkpoints, three times, reports twice": replace(
        DEEP_SPACE, final_checkpoints=3, checkpoint_copies=3, report_copies=2
    ),
}


def trial(parameters: LtpParameters, seed: int, blocks: int = BLOCKS) -> tuple[int, int, int]:
    """Blocks there by the deadline, segments sent both ways; raises unless all come, once."""
    parameters = replace(parameters, one_way_light_time_s=LIGHT_TIME_S)
    span = Span(parameters, seed, loss=LOSS)
    sessions = [span.engines[1].send(BLOCK) for _ in range(blocks)]
    span.run(PATIENCE_NS)
    assert set(span.delivered) == {session.number for session in sessions}, "not all delivered"
    assert all(data == BLOCK for data in span.data.values()), "other data delivered"
    assert span.is_idle(), f"left over: {[e.statistics() for e in span.engines.values()]}"
    early = sum(arrival_ns <= DEADLINE_NS for arrival_ns in span.delivered.values())
    return early, span.sent[1], span.sent[2]


def early_delivery(parameters: LtpParameters, seeds: range) -> tuple[float, float, float, float]:
    """Means over the seeds: blocks by the deadline, its standard error, segments out and back."""
    results = [trial(parameters, seed) for seed in seeds]
    early = [result[0] for result in results]
    error = statistics.stdev(early) / len(early) ** 0.5
    out, back = (statistics.mean(result[i] for result in results) for i in (1, 2))
    return statistics.mean(early), error, out, back


def many_sessions(sessions: int, seed: int = 0) -> Iterator[str]:
    """Short blocks through loss, duplication and reordering; nothing may be left at either end."""
    parameters = replace(
        DEEP_SPACE, one_way_light_time_s=LIGHT_TIME_S, sending_sessions=sessions,
        receiving_sessions=sessions, closed_sessions=min(sessions, 20_000),
    )  # fmt: skip
    span = Span(parameters, seed, loss=LOSS, duplication=0.05, jitter_ns=2 * SECOND_NS)
    at_once = min(sessions, 10_000)
    wanted = 0
    for first in range(0, sessions, at_once):
        for number in range(first, min(first + at_once, sessions)):
            span.engines[1].send(number.to_bytes(8, "big") * (1 + number % 400))
            wanted += 1
        span.run(span.now_ns + 60 * SECOND_NS)
        most = [engine.statistics() for engine in span.engines.values()]
        yield f"{wanted} opened, open {most[0].sending}/{most[1].receiving}"
    span.run(PATIENCE_NS)
    assert len(span.delivered) == sessions, f"{len(span.delivered)} of {sessions} delivered"
    assert {data[:8] for data in span.data.values()} == {
        number.to_bytes(8, "big") for number in range(sessions)
    }
    assert span.is_idle(), f"left over: {[e.statistics() for e in span.engines.values()]}"
    yield f"{sessions} delivered, each once; no session, timer, octet or segment left"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--only", default="", help="variants whose name contains this")
    arguments = parser.parse_args()
    for name, parameters in VARIANTS.items():
        if arguments.only not in name:
            continue
        begin = time.perf_counter()
        early, error, out, back = early_delivery(parameters, range(arguments.seeds))
        print(
            f"{name}: {early:.2f} ± {error:.2f} of {BLOCKS} blocks after {DEADLINE_NS // SECOND_NS}"
            f" s; all delivered, none twice; {out:.0f} segments out, {back:.0f} back; "
            f"{arguments.seeds} seeds in {time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    begin = time.perf_counter()
    for line in many_sessions(arguments.sessions):
        print(line, flush=True)
    print(f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
