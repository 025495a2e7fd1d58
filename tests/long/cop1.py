"""COP-1 through 499 s of light time, 30 % loss, doubled and reordered frames both ways.

    python -m tests.long.cop1 --seeds 1000

Every AD command of every seed must have been executed exactly once and in order, or reported
failed.  A lockout by a stray frame and its unlocking are part of every seed.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable

from tests.long.cop1_link import Channel, CopLink, Outcome, check

COMMANDS = 40

VARIANTS: dict[str, dict[str, object]] = {
    "CLCWs in order": {},
    "CLCWs in order, timeout type 1, limit 3": {"suspend": True, "transmission_limit": 3},
    "old CLCWs reach FOP-1": {
        "channel": Channel(clcws_in_order=False, clcw_period_s=10.0, jitter_s=60.0)
    },
}


def trial(variant: str, seed: int) -> Outcome:
    """Raises unless every command's end is what was reported."""
    arguments = VARIANTS[variant]
    link = CopLink(
        seed,
        commands=COMMANDS,
        expedited=5,
        lockout_at_s=2_000 + 97 * (seed % 60),
        **arguments,  # type: ignore[arg-type]
    )
    outcome = link.run()
    check(outcome, COMMANDS)
    return outcome


def summary(outcomes: Iterable[Outcome]) -> str:
    outcomes = list(outcomes)
    commands = COMMANDS * len(outcomes)
    confirmed = sum(len(o.confirmed) for o in outcomes)
    failed = sum(len(o.failed) for o in outcomes)
    yet_executed = sum(len(set(o.failed) & set(o.executed)) for o in outcomes)
    alerts: Counter[str] = Counter()
    for outcome in outcomes:
        alerts.update({alert.name: count for alert, count in outcome.alerts.items()})
    frames = sum(o.frames_sent for o in outcomes)
    return (
        f"{commands} commands: {confirmed} confirmed, {failed} reported failed (of which "
        f"{yet_executed} were executed, once); {frames / commands:.2f} frames a command; "
        f"{sum(o.lockouts for o in outcomes)} lockouts, all unlocked; alerts {dict(alerts)}; "
        f"{sum(o.suspensions for o in outcomes)} suspensions"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--only", default="", help="variants whose name contains this")
    arguments = parser.parse_args()
    for name in VARIANTS:
        if arguments.only in name:
            begin = time.perf_counter()
            text = summary(trial(name, seed) for seed in range(arguments.seeds))
            print(f"{name}, {arguments.seeds} seeds: {text}", flush=True)
            print(f"  in {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
