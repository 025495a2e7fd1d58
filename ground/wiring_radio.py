"""Wiring of a radio: which adapter stands in the place of the station, and what it delivers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ground.adapters.radio.adapter import Face
from ground.adapters.radio.link import RadioLink
from ground.adapters.radio.registry import open_adapter
from ground.config import RECEIVE, RunSettings
from ground.ports import Clock, Link
from ground.receive.profile import LinkProfile
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.receive.radio_receiver import Expect


def open_radio_link(
    settings: RunSettings, profile: LinkProfile, clock: Clock, receiver: str = RECEIVE
) -> tuple[Link, LinkProfile]:
    """LocalError: there is no such adapter, or its address is wrong."""
    address = settings.radio_of(receiver)
    name, log = settings.link_name_of(receiver), settings.uplink_log_of(receiver)
    lengths = {"frames": profile.frame_length, "codewords": profile.block_length}
    adapter = open_adapter(address, now_ns=clock.now_ns)
    if adapter.FACE is Face.SAMPLES:
        if profile.radio is None:
            raise LocalError(
                f"{address} gives I/Q samples, and {profile.name!r} does not say how its "
                "carrier is modulated; its mission file wants a section [radio]"
            )
        link = RadioLink(name, adapter, clock.now_ns, log)
        return link, replace(profile, input="samples")
    carries = adapter.options.get("carries", "cadu")
    if not adapter.options.get("frame_length", 1):
        # Not said: what the mission says.  CADUs are found by their markers, however they are cut.
        adapter.options["frame_length"] = lengths.get(carries, 0)
    link = RadioLink(name, adapter, clock.now_ns, log)
    return link, replace(profile, input=carries)


def open_prediction(profile: LinkProfile) -> Expect | None:
    """The Doppler shift that a profile's target has at its station; None: it names no target.
    LocalError: there is no such target or station."""
    radio = profile.radio
    if radio is None or not radio.target:
        return None
    from ground.scheduling.doppler import DopplerPrediction
    from ground.scheduling.stations import load_stations, select_stations
    from ground.scheduling.targets import target_named

    (station,) = select_stations(load_stations(), (radio.station,))
    return DopplerPrediction(target_named(radio.target), station, radio.frequency_hz)
