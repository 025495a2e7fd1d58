"""`l4 relay …`: bundle nodes, for their operators and for whoever sends through them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ground.relay_command import relay
from ground.terminal import display

if TYPE_CHECKING:
    from ground.relay.client import BundleClient

relay_app = typer.Typer(
    help="Bundles through the relay, and the bundle nodes that carry them.",
    epilog="""
Without a command: the bundles that arrived, as `l4 relay arrivals`.

Examples: `l4 relay` · `l4 relay --follow` · `l4 relay status` · `l4 relay routes ipn:40.1`
· `l4 relay send ipn:100.7 "hello"` · `l4 relay receive ipn:100.7`
""",
    invoke_without_command=True,
)

RunDir = Annotated[Path, typer.Option("--run-dir", help="Directory of the run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
At = Annotated[
    str,
    typer.Option(
        "--at",
        help="Which node: `site` or `centre` of the run; for one that `l4 relay node` runs its "
        "file (yeoju.toml: also its keys), or its applications' endpoint (tcp://127.0.0.1:4560).",
    ),
]
_RUN = Path("var/run")


@relay_app.callback()
def _relay(
    context: typer.Context,
    run_dir: RunDir = _RUN,
    last: Annotated[int, typer.Option(min=1, help="Show so many of the newest bundles.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and show each bundle as it arrives.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(help="Write each bundle into this directory, as it came.")
    ] = None,
    json_: Json = False,
) -> None:
    if context.invoked_subcommand is None:
        relay(run_dir=run_dir, last=last, follow=follow, save=save, json_=json_)


relay_app.command(
    name="arrivals",
    epilog="Examples: l4 relay arrivals --follow · l4 relay arrivals --json | jq '.bundles[-1]' · "
    "l4 relay arrivals --save bundles/",
)(relay)


@contextmanager
def _client(at: str, run_dir: Path) -> Iterator[BundleClient]:
    from ground.config import MISSION_CENTRE, RELAY, load_settings
    from ground.keyring import Keyring, person
    from ground.relay.client import BundleClient
    from ground.wiring import open_person
    from protocols.errors import LocalError

    keyring, server = None, ""
    if at in ("site", "centre"):
        if not (run_dir / "run.toml").is_file():
            raise FileNotFoundError(
                2, "no run here; `l4 run` starts one, --at names another node", str(run_dir)
            )
        settings = load_settings(run_dir)
        site = at == "site"
        keyring, server = open_person(settings), RELAY if site else MISSION_CENTRE
        at = settings.relay_applications if site else settings.centre_applications
    elif at.endswith(".toml"):
        from ground.relay.settings import load_relay_settings

        of_node = load_relay_settings(Path(at))
        at, server = of_node.applications, of_node.identity
        if of_node.keys is not None:
            keyring = Keyring(of_node.keys, person(of_node.keys))
    elif "://" not in at:
        raise LocalError(
            f"--at {at}: site, centre, a node's file like yeoju.toml, "
            "or an endpoint like tcp://127.0.0.1:4560"
        )
    with BundleClient(at, server=server, keyring=keyring) as client:
        yield client


def _table(*titles: str) -> Any:
    """Columns whose title begins with # hold numbers."""
    from rich.table import Table

    table = Table(box=None, header_style="dim", padding=(0, 1, 0, 0))
    for title in titles:
        right = title.startswith("#")
        table.add_column(
            title.removeprefix("#"), justify="right" if right else "left", no_wrap=True
        )
    return table


def _when(utc: str | None) -> str:
    """Month, day and minute; nothing for what lies beyond all plans."""
    return "" if utc is None or not "1970" < utc < "2090" else f"{utc[5:10]} {utc[11:16]}"


def _quantity(value: float | None, unit: str) -> str:
    """With three digits, which is what a table has room for."""
    if value is None:
        return "none"
    for prefix in ("", "k", "M", "G", "T"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1_000
    return "no limit"


@relay_app.command(
    epilog="Example: l4 relay node yeoju.toml — keys of the file: docs/howto/run-a-relay-node.md"
)
def node(
    configuration: Annotated[Path, typer.Argument(help="The node's TOML file.")],
) -> None:
    """Run a bundle node until Ctrl-C: its store, its neighbours over TCPCLv4, its applications."""
    from ground.__main__ import allow_descriptors, end_of_service
    from ground.relay.settings import load_relay_settings
    from ground.wiring_node import run_standalone

    settings = load_relay_settings(configuration)
    listen = "nobody can connect" if settings.listen is None else "{}:{}".format(*settings.listen)
    print(
        f"{settings.node.node} {settings.name}: TCPCL {listen}, applications at "
        f"{settings.applications}, bundles in {settings.store}; Ctrl-C ends it",
        file=sys.stderr,
    )
    allow_descriptors()
    run_standalone(settings, end_of_service(), said=lambda text: print(text, flush=True))


@relay_app.command(epilog="Examples: l4 relay status · l4 relay status --at centre --json")
def status(at: At = "site", run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """What a node holds, its neighbours and their contacts, what it counted."""
    with _client(at, run_dir) as client:
        found = client.ask("status")
    if json_:
        print(json.dumps(found, indent=2))
        return
    held = ", ".join(f"{n:,} {kind}" for kind, n in found["held"].items() if n) or "nothing"
    print(f"{found['node']} {found['name']} at {found['time_utc']}")
    percent = 100 * found["held_octets"] / found["quota_octets"]
    print(f"holds {held}; {found['held_octets']:,} octets, {percent:.1f} % of its quota")
    table = _table("neighbour", "", "contact", "#queued", "#sending", "#sent", "#failed")
    for one in found["neighbours"]:
        contact = "no contact in the plan"
        if one["contact_until_utc"]:
            until = _when(one["contact_until_utc"])
            contact = f"on until {until}" if until else "always"
        elif one["next_contact_utc"]:
            contact = f"next {_when(one['next_contact_utc'])}"
        table.add_row(
            f"ipn:{one['number']}.0 {one['name']}",
            "up" if one["up"] else "down",
            contact,
            *(f"{one[key]:,}" for key in ("queued", "sending", "sent", "failed")),
        )
    display(table)
    counts = found["counts"]
    deleted = ", ".join(f"{n} {why.lower()}" for why, n in counts.pop("deleted").items())
    print(", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n))
    if deleted:
        print(f"deleted: {deleted}")
    for link in found["links"]:
        if link["state"] != "OK":
            print(f"{link['name']}: {link['state']} {link['detail']}")


@relay_app.command(epilog="Examples: l4 relay held · l4 relay held --destination ipn:40 --json")
def held(
    at: At = "site",
    destination: Annotated[str, typer.Option(help="Only those for endpoints that begin so.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Show so many, urgent ones first.")] = 50,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Bundles that a node holds, for whom, how old, and what they wait for."""
    with _client(at, run_dir) as client:
        found = client.ask("held", destination=destination, limit=limit)
    if json_:
        print(json.dumps(found, indent=2))
        return
    table = _table("#ref", "class", "from", "for", "#octets", "#age s", "waits for")
    for one in found:
        waits = one["why"] or ", ".join(f"ipn:{f['neighbour']}.0, {f['state']}" for f in one["for"])
        table.add_row(
            str(one["ref"]),
            one["class"],
            one["source"],
            one["destination"],
            f"{one['octets']:,}",
            f"{one['age_s']:,.0f}",
            waits,
        )
    display(table if found else "it holds no bundle")


@relay_app.command(
    epilog="Example: l4 relay routes ipn:40.1 --octets 100000 --priority expedited",
    no_args_is_help=True,
)
def routes(
    destination: Annotated[str, typer.Argument(help="Endpoint, as ipn:40.1.")],
    octets: Annotated[int, typer.Option(min=1, help="Size of the bundle.")] = 1_000,
    priority: Annotated[str, typer.Option(help="bulk, normal or expedited.")] = "normal",
    at: At = "site",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """How a bundle would go from here, and why not by each other neighbour (CCSDS 734.3-B)."""
    with _client(at, run_dir) as client:
        found = client.ask("routes", destination=destination, octets=octets, priority=priority)
    if json_:
        print(json.dumps(found, indent=2))
        return
    if not found:
        print("the contact plan has no neighbour of this node")
    for one in found:
        mark = "→" if one["chosen"] else " "
        print(f"{mark} ipn:{one['via']}.0 {one['name']}: {one['why']} (§{one['clause']})")
        if one["route"]:
            print(f"    {one['route']}")


@relay_app.command(epilog="Example: l4 relay contacts --json | jq '.[0]'")
def contacts(
    at: At = "site",
    limit: Annotated[int, typer.Option(min=1, help="Show so many.")] = 40,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """The contact plan that a node routes by, from now on; room: octets not yet booked."""
    with _client(at, run_dir) as client:
        found = client.ask("contacts")
    if json_:
        print(json.dumps(found, indent=2))
        return
    table = _table("", "from", "to", "UTC", "#rate", "#room")
    for one in found[:limit]:
        begin, end = _when(one["start_utc"]), _when(one["end_utc"])
        table.add_row(
            "on" if one["on"] else "",
            one["source_name"] or str(one["source"]),
            one["dest_name"] or str(one["dest"]),
            f"{begin} - {end}" if begin or end else "always",
            _quantity(one["rate_bit_s"], "bit/s"),
            _quantity(one["left_octets"], "B"),
        )
    display(table)
    if len(found) > limit:
        print(f"and {len(found) - limit} more; --limit, --json")


@relay_app.command(
    epilog="Examples: l4 relay send ipn:100.7 'all well' · l4 relay send ipn:40.7 --file plan.bin "
    "--lifetime 7d · echo hello | l4 relay send ipn:100.7 -",
    no_args_is_help=True,
)
def send(
    destination: Annotated[str, typer.Argument(help="Endpoint, as ipn:100.7.")],
    message: Annotated[str, typer.Argument(help="Text; - for standard input.")] = "",
    file: Annotated[Path | None, typer.Option(help="Send this file's octets.")] = None,
    source: Annotated[
        str, typer.Option(help="Endpoint of the node that it comes from. [default: the node]")
    ] = "",
    lifetime: Annotated[str, typer.Option(help="How long it may live: 90s, 12h, 7d.")] = "1d",
    report: Annotated[
        bool, typer.Option(help="Ask for status reports of delivery and deletion.")
    ] = False,
    at: At = "site",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Give a node a message or a file to send; it answers when the bundle is on its disk."""
    from protocols.dtn.bundle import BundleFlags
    from protocols.errors import LocalError

    if (file is None) == (not message):
        raise LocalError("a message, - or --file wanted")
    if file is not None:
        payload = file.read_bytes()
    else:
        payload = sys.stdin.buffer.read() if message == "-" else message.encode()
    flags = BundleFlags.REPORT_DELIVERY | BundleFlags.REPORT_DELETION if report else 0
    lifetime_ms = _milliseconds(lifetime)
    with _client(at, run_dir) as client:
        if source:
            client.register(source)
        found = client.send(
            destination,
            payload,
            source=source,
            lifetime_ms=lifetime_ms,
            flags=flags,
            report_to=client.ask("status")["node"] if report else "",
        )
    if json_:
        print(json.dumps(found))
    else:
        time_ms, sequence = found["creation"]
        print(
            f"{len(payload):,} octets {found['verdict']} as {found['source']} {time_ms}-{sequence}"
        )


def _milliseconds(text: str) -> int:
    from protocols.errors import LocalError

    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    if text[-1:] in units and text[:-1].isdigit() and int(text[:-1]):
        return int(text[:-1]) * units[text[-1]] * 1_000
    raise LocalError(f"--lifetime {text}: a number and s, m, h or d wanted, as 12h")


@relay_app.command(
    epilog="Examples: l4 relay receive ipn:100.7 --at centre · l4 relay receive ipn:10.7 --count 1 "
    "--save inbox/ · l4 relay receive ipn:10.7 --json",
    no_args_is_help=True,
)
def receive(
    endpoint: Annotated[str, typer.Argument(help="Endpoint of the node, as ipn:10.7.")],
    count: Annotated[int | None, typer.Option(min=1, help="Stop after so many bundles.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Stop when none has come for so long.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write each payload to a file here.")] = None,
    at: At = "site",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Take what comes for an endpoint; a bundle is forgotten by the node when it was shown."""
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
    taken = 0
    with _client(at, run_dir) as client:
        waiting = client.register(endpoint)["waiting"]
        if sys.stderr.isatty():
            print(f"{waiting} waiting; Ctrl-C ends it", file=sys.stderr)
        quiet_since = time.monotonic()
        try:
            while count is None or taken < count:
                found = client.receive(0.5)
                for delivery in found:
                    taken += 1
                    _show(delivery, save, as_json=json_)
                    client.acknowledge(delivery)
                    if taken == count:
                        break
                if found:
                    quiet_since = time.monotonic()
                elif seconds is not None and time.monotonic() - quiet_since >= seconds:
                    break
        except KeyboardInterrupt:
            pass
        client.unregister(endpoint)
    if count is not None and taken < count:
        raise typer.Exit(1)


def _show(delivery: Any, save: Path | None, *, as_json: bool) -> None:
    import os

    from ground.relay_command import text_of

    name = ""
    if save is not None:
        safe = "".join(c if c.isalnum() else "-" for c in delivery.source)
        path = save / f"{safe}-{delivery.creation[0]}-{delivery.creation[1]}"
        with path.open("wb") as file:
            file.write(delivery.payload)
            file.flush()
            # Acknowledged after this: it must be here.
            os.fsync(file.fileno())
        name = str(path)
    text = text_of(delivery.payload)
    if as_json:
        about = {
            "source": delivery.source,
            "destination": delivery.destination,
            "creation": list(delivery.creation),
            "octets": len(delivery.payload),
            "text": text,
            "file": name,
        }
        print(json.dumps(about), flush=True)
    else:
        print(f"{delivery.source}  {len(delivery.payload):,} octets  {name or text}", flush=True)


@relay_app.command(epilog="Example: l4 relay reload --at tcp://127.0.0.1:4560")
def reload(at: At, run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Have a node read its file and its contact plan again, while it runs.

    (The nodes of a run follow the published passes by themselves.)
    """
    with _client(at, run_dir) as client:
        found = client.ask("reload")
    if json_:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['contacts']:,} contacts: {found['added']} added, {found['removed']} removed, "
        f"{len(found['lost'])} with bundles on them lost"
    )
    for text in found["without_light_time"]:
        print(f"no light time is known for {text}: it is not used")


@relay_app.command(epilog="Example: l4 relay drop 4711", no_args_is_help=True)
def drop(
    ref: Annotated[int, typer.Argument(help="Number of the bundle, from `l4 relay held`.")],
    at: At = "site",
    run_dir: RunDir = _RUN,
) -> None:
    """Delete a bundle that a node holds; whoever asked for it gets a status report."""
    with _client(at, run_dir) as client:
        client.ask("drop", ref=ref)
    print(f"bundle {ref} is deleted")
