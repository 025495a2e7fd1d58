"""Each number and name that both sides agree on stands here, once."""

from __future__ import annotations

from enum import IntEnum, StrEnum

#: Spacecraft identifier of the simulated L4 relay (8 bits: TM, AOS and USLP can all say it).
SCID_L4_RELAY = 0x4C
#: Its name in schedules and pass lists.
MISSION_L4_RELAY = "L4 relay"


class VirtualChannel(IntEnum):
    """Virtual channels of the L4 relay's downlink."""

    HOUSEKEEPING = 0
    EVENTS = 1
    SCIENCE = 2
    PLAYBACK = 3
    RELAY = 4
    FILES = 5
    #: 732.0-B §4.1.2.3: all ones marks frames that carry only idle data.
    IDLE = 63


class Apid(IntEnum):
    """Application process identifiers of the L4 relay."""

    #: ECSS-E-ST-70-41C §7.4.2.1: spacecraft time packets, without secondary header.
    TIME = 0
    STATUS = 1
    POWER = 16
    THERMAL = 17
    ATTITUDE = 18
    PROPULSION = 19
    TRANSPONDER = 20
    OPTICAL = 21
    RELAY = 22
    EVENTS = 32
    PROTON_FLUX = 64
    SOLAR_WIND = 65
    MAGNETOMETER = 66
    #: Requests to the flight software and its service reports: PUS packets.
    FLIGHT_SOFTWARE = 100
    #: CFDP PDUs, one a packet, both ways.
    FILES = 101
    IDLE = 2047


class BundleNode(IntEnum):
    """Node numbers N of `ipn:N.0`, which are also their LTP engines'."""

    #: The ground station's site: `ground/relay`.
    SITE = 10
    #: Relay payload of the L4 relay.
    PAYLOAD = 20
    MARS_ORBITER = 40
    MISSION_CENTRE = 100


class CfdpEntity(IntEnum):
    """Who sends and receives files (727.0-B)."""

    GROUND = 10
    SPACECRAFT = 76


class Carrier(StrEnum):
    """What a station sends up to the L4 relay."""

    #: X band: CLTUs, to the flight software.
    COMMAND = "command"
    #: Ka band: AOS frames in CADUs, to the relay payload.
    RELAY = "relay"


class Topic(StrEnum):
    """Bus topics; the table in docs/ARCHITECTURE.md says who publishes what."""

    PACKETS = "packets"
    OPAQUE = "opaque"
    PARAMETERS = "parameters"
    EVENTS = "events"
    LINK = "link"
    RADIO = "radio"
    OCF = "ocf"
    COMMANDS = "commands"
    PASSES = "passes"
    UPLINK = "uplink"
    RADIATED = "radiated"
    BUNDLES = "bundles"
    TIME = "time"
    STATUS = "status"
