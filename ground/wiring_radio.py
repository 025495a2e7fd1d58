"""Wiring of a radio: which adapter stands in the place of the station, and what it delivers."""

from __future__ import annotations

from dataclasses import replace

from ground.adapters.radio.link import RadioLink
from ground.adapters.radio.registry import open_adapter
from ground.config import RunSettings
from ground.ports import Clock, Link
from ground.receive.profile import LinkProfile


def open_radio_link(
    settings: RunSettings, profile: LinkProfile, clock: Clock
) -> tuple[Link, LinkProfile]:
    """LocalError: there is no such adapter, or its address is wrong."""
    lengths = {"frames": profile.frame_length, "codewords": profile.block_length}
    adapter = open_adapter(settings.radio, now_ns=clock.now_ns)
    carries = adapter.options.get("carries", "cadu")
    if not adapter.options.get("frame_length", 1):
        # Not said: what the mission says.  CADUs are found by their markers, however they are cut.
        adapter.options["frame_length"] = lengths.get(carries, 0)
    link = RadioLink(settings.link_name, adapter, clock.now_ns, settings.uplink_log)
    return link, replace(profile, input=carries)
