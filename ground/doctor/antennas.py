"""Checks of a site with several antennas: whether each is there, by the word of who merges them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ground.asking import CallClient
from ground.config import RECEIVE, RunSettings
from ground.doctor.finding import Check, Finding, error, ok, skipped, warning
from ground.health import health
from ground.wiring import open_person
from protocols.errors import LocalError

_PATIENCE_S: Final = 3.0
_RUNBOOK: Final = "deploy/runbooks/lost-antenna.md"


def antennas(settings: RunSettings) -> Iterator[Finding]:
    """Which receivers live, hear and transmit; on an antenna's own host, how its receiver is."""
    if not settings.antennas:
        return
    if health(settings, RECEIVE) is None:
        here = [health(settings, name) for name in settings.antenna_receivers]
        for said in filter(None, here):
            text = f"{said['service']}: {said['reason'] or said['state']}"
            if said["healthy"]:
                yield ok("antennas", text)
            else:
                yield warning("antennas", text, f"its log says why: {_RUNBOOK}")
        if not any(here):
            yield skipped("antennas", "receive does not run")
        return
    try:
        with CallClient(
            settings.antennas_endpoint,
            name="receive",
            timeout_s=_PATIENCE_S,
            server=RECEIVE,
            keyring=open_person(settings),
        ) as client:
            told: dict[str, Any] = client.call("list")
    except LocalError as problem:
        yield skipped("antennas", str(problem))
        return
    for one in told["antennas"]:
        name, how = one["antenna"], f"{one['state']} {one['detail']}".strip()
        if not one["alive"]:
            where = settings.host(f"{RECEIVE}.{name}")
            text = f"{name}: no word from receive.{name} at {where}"
            yield error("antennas", text, f"see how it is there: {_RUNBOOK}")
        elif one["state"] != "OK":
            yield warning("antennas", f"{name}: {how}", f"its station is not reached: {_RUNBOOK}")
        else:
            use = " transmits" * one["transmits"] + " hears" * one["hears"]
            yield ok("antennas", f"{name}: {how}{use and ','}{use}")
    if told["state"] != "transmits":
        do = "wait until what it was given is over: `l4 antenna list`"
        yield warning("antennas", f"nothing goes up: {told['transmitter']} is lost or relieved", do)


CHECKS: Final[tuple[Check[RunSettings], ...]] = (antennas,)
