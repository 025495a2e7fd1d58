"""The envelope of every bus message: three parts, so that a broker reads the topic alone.

    [topic (ASCII), header (msgpack), body]

The broker subscribes and keeps last values by the first part; receivers find gaps with the second;
only who wants the message opens the third.  Octets from the bus are not trusted: whatever does not
fit raises `RemoteError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.bus.fields import pack_map, unpack_map
from protocols.errors import LocalError, RemoteError

#: Raised when the header's meaning changes; a receiver refuses what it does not know.
ENVELOPE_VERSION = 1

#: A topic is a name and perhaps a service's name: anything longer is not ours.
MAX_TOPIC_OCTETS = 128
#: Five short entries; the two names in it are bounded by MAX_NAME_OCTETS.
MAX_HEADER_OCTETS = 512
MAX_NAME_OCTETS = 64
#: A batch is cut near 1 MiB by its sender; 32 MiB leaves room for one large file unit, and bounds
#: what a receiver with a high-water mark of N messages can be made to hold.
MAX_BODY_OCTETS = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message of the bus.

    source: the publishing service; journal: identity of the source's journal for this topic (empty
    if the topic is not journaled); sequence: counts that journal's messages from 0, or −1 if not
    journaled; time_ns: TAI ns at which it was published.
    """

    topic: str
    source: str
    journal: str
    sequence: int
    time_ns: int
    body: bytes


def build_envelope(envelope: Envelope) -> list[bytes]:
    """Parts to send.  LocalError if a name, the sequence or the body is out of bounds."""
    topic = envelope.topic.encode()
    if not _is_name(envelope.topic) or len(topic) > MAX_TOPIC_OCTETS:
        raise LocalError(f"topic {envelope.topic!r}: 1..{MAX_TOPIC_OCTETS} printable ASCII wanted")
    if not _is_name(envelope.source) or len(envelope.source) > MAX_NAME_OCTETS:
        raise LocalError(f"source {envelope.source!r}: 1..{MAX_NAME_OCTETS} printable ASCII wanted")
    if envelope.journal and not _is_name(envelope.journal):
        raise LocalError(f"journal identity {envelope.journal!r}: printable ASCII wanted")
    if len(envelope.journal) > MAX_NAME_OCTETS or envelope.sequence < -1:
        raise LocalError(f"journal {envelope.journal!r} at {envelope.sequence} is not a position")
    if len(envelope.body) > MAX_BODY_OCTETS:
        raise LocalError(f"body of {len(envelope.body)} octets, at most {MAX_BODY_OCTETS}")
    header = pack_map(
        {
            "v": ENVELOPE_VERSION,
            "src": envelope.source,
            "jid": envelope.journal,
            "seq": envelope.sequence,
            "t": envelope.time_ns,
        }
    )
    return [topic, header, envelope.body]


def parse_envelope(parts: Sequence[bytes]) -> Envelope:
    """The message in received parts.  RemoteError for anything that is not one."""
    if len(parts) != 3:
        raise RemoteError(f"message of {len(parts)} parts, 3 wanted", data=_beginning(parts))
    topic_octets, header_octets, body = parts
    if len(topic_octets) > MAX_TOPIC_OCTETS or len(header_octets) > MAX_HEADER_OCTETS:
        raise RemoteError("topic or header too long", data=_beginning(parts))
    if len(body) > MAX_BODY_OCTETS:
        raise RemoteError(f"body of {len(body)} octets, at most {MAX_BODY_OCTETS}", data=body[:64])
    try:
        topic = topic_octets.decode("ascii")
    except UnicodeDecodeError as error:
        raise RemoteError("topic is not ASCII", data=topic_octets, offset=error.start) from error
    if not _is_name(topic):
        raise RemoteError("topic is empty or not printable", data=topic_octets)
    header = unpack_map(header_octets)
    if header.integer("v") != ENVELOPE_VERSION:
        raise RemoteError(
            f"envelope version {header.integer('v')}, {ENVELOPE_VERSION} wanted", data=header_octets
        )
    source, journal, sequence = header.text("src"), header.text("jid"), header.integer("seq")
    if not _is_name(source) or len(source) > MAX_NAME_OCTETS or len(journal) > MAX_NAME_OCTETS:
        raise RemoteError("source or journal is not a name", data=header_octets)
    if (journal and not _is_name(journal)) or sequence < -1 or bool(journal) != (sequence >= 0):
        raise RemoteError("journal and sequence are not a position", data=header_octets)
    return Envelope(topic, source, journal, sequence, header.integer("t"), body)


def source_of(header_octets: bytes) -> str:
    """Who a message says it is from, of its second part alone.  RemoteError: no header."""
    if len(header_octets) > MAX_HEADER_OCTETS:
        raise RemoteError("header too long", data=header_octets[:64])
    return unpack_map(header_octets).text("src")


def _is_name(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _beginning(parts: Sequence[bytes]) -> bytes:
    return b"".join(bytes(part[:64]) for part in parts[:4])
