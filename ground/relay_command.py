"""`l4 relay`: what came through the relay, and how it is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ground.live_view import LiveModel
    from protocols.bus.messages import DeliveredBundle

#: Wall seconds that a journal may take to begin to come, and until every service has spoken.
_PATIENCE_S, _FIRST_WORDS_S = 10.0, 1.5
#: Of a payload that is text, shown so much.
_SHOWN_OCTETS = 120


def relay(
    run_dir: Annotated[Path, typer.Option("--run-dir", help="Directory of the run.")] = Path(
        "var/run"
    ),
    last: Annotated[int, typer.Option(min=1, help="Show so many of the newest bundles.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and show each bundle as it arrives.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(help="Write each bundle into this directory, as it came.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Bundles that arrived through the relay at L4, the newest last, and what waits on board.

    Asks the relay of a running site for its journal, so it starts with the first bundle of the run.
    """
    from ground.config import MISSION_CENTRE, load_settings
    from ground.live_view import LiveModel
    from ground.wiring import open_clock, open_viewer
    from protocols.errors import LocalError
    from protocols.identifiers import Topic

    if not (run_dir / "run.toml").is_file():
        raise FileNotFoundError(2, "no run here; `l4 run` starts one", str(run_dir / "run.toml"))
    settings = load_settings(run_dir)
    if not settings.relay:
        raise LocalError(f"the run in {run_dir} has no relay")
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
    clock = open_clock(settings)
    model = LiveModel(speed=1 / clock.wall_seconds(1.0))
    bus = open_viewer(settings, "l4-relay", (Topic.PARAMETERS, Topic.PASSES, Topic.STATUS))
    try:
        bus.follow(Topic.BUNDLES, MISSION_CENTRE, "", -1)
        began = time.monotonic()
        shown = 0
        while True:
            for message in bus.receive(0.1):
                model.take(message)
                if message.topic == Topic.BUNDLES and save is not None:
                    _save(save, message.body)
            waited_s = time.monotonic() - began
            complete = waited_s >= _FIRST_WORDS_S and all(
                position.sequence >= 0 and not position.lag for position in bus.positions()
            )
            if not shown and (complete or waited_s >= _PATIENCE_S):
                if not model.services and not model.bundles_seen:
                    raise LocalError(f"nothing is running in {run_dir}; `l4 run` starts it")
                _print(model, last, clock.now_ns(), as_json=json_)
                if not follow:
                    return
                shown = model.bundles_seen
            elif shown:
                fresh = model.bundles_seen - shown
                for one in list(model.bundles)[max(0, len(model.bundles) - fresh) :]:
                    print(json.dumps(described(one)) if json_ else line(one), flush=True)
                shown = model.bundles_seen or shown
    except KeyboardInterrupt:
        return
    finally:
        bus.close()


def described(one: DeliveredBundle) -> dict[str, object]:
    """What `--json` says of a bundle."""
    from protocols.dtn.bundle import parse_bundle
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    bundle = parse_bundle(one.octets)
    payload = bytes(bundle.payload)
    return {
        "source": one.source,
        "destination": one.destination,
        "created_utc": utc_iso_from_tai_ns(one.created_ns) if one.created_ns else None,
        "received_utc": utc_iso_from_tai_ns(one.reception_ns),
        "under_way_s": (one.reception_ns - one.created_ns) / 1e9 if one.created_ns else None,
        "sequence": bundle.primary.creation.sequence,
        "octets": len(one.octets),
        "payload_octets": len(payload),
        "text": text_of(payload),
    }


def text_of(payload: bytes) -> str:
    """The payload if it is text, else its first line if that is."""
    for part in (payload, payload.split(b"\n", 1)[0]):
        try:
            text = part.decode()
        except UnicodeDecodeError:
            continue
        if text.isprintable():
            return text[:_SHOWN_OCTETS]
    return ""


def line(one: DeliveredBundle) -> str:
    """A bundle on one line, for people."""
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    what = described(one)
    way = f"{what['under_way_s']:7.0f} s" if one.created_ns else "        ?"
    return (
        f"{utc_iso_from_tai_ns(one.reception_ns, 0)}  {one.source:>9} → {one.destination:<9} "
        f"{way}  {len(one.octets):>7,} octets  {what['text']}"
    )


def _save(directory: Path, body: bytes) -> None:
    from protocols.bus.messages import BundlesMessage, parse

    message = parse(BundlesMessage, body)
    for number, one in enumerate(message.bundles, message.first_bundle):
        (directory / f"bundle-{number:06d}.bp7").write_bytes(one.octets)


def _print(model: LiveModel, last: int, now_ns: int, *, as_json: bool) -> None:
    from ground.config import MISSION_CENTRE
    from ground.live_view import pass_lines, relay_lines

    newest = list(model.bundles)[-last:]
    status = model.services.get(MISSION_CENTRE)
    if as_json:
        block = model.blocks.get("RELAY")
        on_board = {} if block is None else {n: p.value for n, p in block.parameters.items()}
        report = {
            "arrived": model.bundles_seen,
            "bundles": [described(one) for one in newest],
            "counters": {} if status is None else status.counters,
            "on_board": on_board,
        }
        print(json.dumps(report, indent=2, default=float))
        return
    print("received              from        for           under way")
    for one in newest:
        print(line(one))
    for text in relay_lines(model, now_ns):
        print(text.plain)
    if model.passes is not None:
        print(", ".join(text.plain for text in pass_lines(model.passes, now_ns)))
    if status is None:
        print("the relay service has not said how it is")
