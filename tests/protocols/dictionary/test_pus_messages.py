"""Message types and data fields of the L4 relay's PUS services as others have them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_reports import REPORTS
from protocols.identifiers import Apid

OTHERS = tomllib.loads((Path(__file__).parents[2] / "captures" / "pus.toml").read_text("utf-8"))
KNOWN = {service["number"]: service for service in OTHERS["service"]}
#: §5.3.3.1: 128 and above are the mission's own.
FIRST_OWN = 128
#: Packet header, PUS header without spare; error control.
_DATA = slice(6 + 5, -2)


def test_every_message_is_one_of_the_standard() -> None:
    for command in COMMANDS.commands:
        if command.service < FIRST_OWN and command.subtype < FIRST_OWN:
            assert command.subtype in KNOWN[command.service]["tc"], command.name
    for definition in REPORTS.definitions:
        if definition.apid == Apid.TIME:
            continue
        found = {c.parameter: c.value for c in definition.conditions}
        service, subtype = found["PUS_SERVICE"], found["PUS_SUBTYPE"]
        if service not in (1, 128):
            assert subtype in KNOWN[service]["tm"], definition.name


@pytest.mark.parametrize("request_", OTHERS["request"], ids=lambda r: r["command"])
def test_data_fields(request_: dict[str, Any]) -> None:
    arguments = dict(request_["arguments"])
    if "PART" in arguments:
        arguments["PART"] = bytes.fromhex(arguments["PART"])
    packet = COMMANDS.build(request_["command"], arguments)
    assert packet[_DATA].hex() == request_["data"].replace(" ", "")
    assert COMMANDS.parse(packet).command.name == request_["command"]


def test_an_event_report_begins_with_its_definition() -> None:
    """Figure 8-59: event definition, then what belongs to it."""
    names = list(REPORTS.by_name["EVENT_LOW"].parameters)
    assert names[names.index("SCET") + 1] == "EVT_ID"
