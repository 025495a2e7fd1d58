"""What a bundle node says of itself, as maps: for `l4 relay`, the console and applications."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from protocols.dtn.dtn_time import NEVER_NS
from protocols.dtn.eid import eid
from protocols.dtn.node import Held, Node
from protocols.dtn.node_queue import NeighbourQueue
from protocols.dtn.node_settings import PRIORITY_NAMES
from protocols.dtn.routing import Demand
from protocols.timecodes.tai import utc_iso_from_tai_ns

_CLASSES: Final = ("critical", "expedited", "normal", "bulk")
#: Bundles listed at most, unless more are asked for.
_LISTED: Final = 1_000


def _utc(t_ns: int | None) -> str | None:
    return None if t_ns is None or t_ns >= NEVER_NS else utc_iso_from_tai_ns(t_ns, 0)


def _name(node: Node, number: int) -> str:
    return node.router.plan.names.get(number, "")


def status(node: Node, now_ns: int, links: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts, what is held by class, neighbours and their contacts, endpoints, links."""
    held = dict.fromkeys(_CLASSES, 0)
    for one in node.held.values():
        held[_CLASSES[one.rank]] += 1
    return {
        "node": str(node.settings.node),
        "name": _name(node, node.number),
        "time_utc": _utc(now_ns),
        "held": held,
        "held_bundles": len(node.held),
        "held_octets": node.held_octets,
        "quota_octets": node.settings.quota_octets,
        "counts": asdict(node.counts),
        "neighbours": [_neighbour(node, queue, now_ns) for _, queue in sorted(node.queues.items())],
        "endpoints": sorted(map(str, node.endpoints)),
        "links": links,
    }


def _neighbour(node: Node, queue: NeighbourQueue, now_ns: int) -> dict[str, Any]:
    on = queue.contact(now_ns)
    following = next((c for c in queue.contacts if c.start_ns > now_ns), None)
    return {
        "number": queue.number,
        "name": _name(node, queue.number),
        "up": queue.up,
        "contact_until_utc": _utc(on.end_ns) if on else None,
        "next_contact_utc": _utc(following.start_ns) if following else None,
        "rate_bit_s": on.rate_bit_s if on else 0,
        "queued": queue.waiting,
        "queued_octets": dict(zip(_CLASSES, queue.waiting_octets, strict=True)),
        "sending": queue.sending,
        "sent": queue.sent_bundles,
        "sent_octets": queue.sent_octets,
        "failed": queue.failed,
    }


def held(node: Node, now_ns: int, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Bundles held, urgent ones first.  arguments: `limit`, `destination` (an endpoint or node)."""
    limit = int(arguments.get("limit", _LISTED))
    wanted = arguments.get("destination")
    rows = [h for h in node.listing() if not wanted or str(h.destination).startswith(str(wanted))]
    return [_held(node, one, now_ns) for one in rows[:limit]]


def _held(node: Node, one: Held, now_ns: int) -> dict[str, Any]:
    return {
        "ref": one.ref,
        "source": str(one.source),
        "destination": str(one.destination),
        "octets": one.octets,
        "class": _CLASSES[one.rank],
        "age_s": round((now_ns - one.received_ns) / 1e9, 3),
        "expires_utc": _utc(one.expiry_ns),
        "came_from": one.came_from,
        "for": [
            {"neighbour": number, "state": str(copy.state), "route": str(copy.route)}
            for number, copy in one.copies.items()
        ],
        "why": one.why or ("waits for its application" if one.endpoint is not None else ""),
    }


def routes(node: Node, now_ns: int, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How a bundle would go, by each neighbour, and why.  arguments: `destination`, and perhaps
    `octets`, `priority` (bulk, normal, expedited)."""
    destination = eid(str(arguments["destination"]))
    demand = Demand(
        dest=destination.node_number or 0,
        evc_octets=int(arguments.get("octets", 1_000)) + 100,
        priority=PRIORITY_NAMES[arguments.get("priority") or "normal"],
    )
    backlog = {n: q.backlog_octets(3 - demand.priority) for n, q in node.queues.items()}
    return [
        {
            "via": judgement.entry,
            "name": _name(node, judgement.entry),
            "chosen": judgement.chosen,
            "why": judgement.why,
            "clause": judgement.clause,
            "route": None if judgement.route is None else str(judgement.route),
            "arrival_utc": _utc(judgement.route.arrival_ns) if judgement.route else None,
        }
        for judgement in node.router.explain(demand, now_ns, backlog)
    ]


def contacts(node: Node, now_ns: int) -> list[dict[str, Any]]:
    """The contact plan from now on."""
    graph = node.router.graph
    return [
        {
            "source": c.source,
            "source_name": _name(node, c.source),
            "dest": c.dest,
            "dest_name": _name(node, c.dest),
            "start_utc": _utc(c.start_ns),
            "end_utc": _utc(c.end_ns),
            "on": c.start_ns <= now_ns,
            "rate_bit_s": c.rate_bit_s,
            "left_octets": graph.remaining_octets(c.key, 0),
        }
        for c in sorted(node.router.plan.contacts)
        if c.end_ns > now_ns
    ]
