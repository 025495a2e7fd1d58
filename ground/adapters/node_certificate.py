"""Which bundle nodes a certificate names: RFC 9174 §4.4.1, otherName id-on-bundleEID."""

from __future__ import annotations

from typing import Final

from cryptography import x509

from protocols.dtn.eid import Eid, eid
from protocols.errors import LocalError

#: RFC 9174 §4.4.1: id-on 11, an IA5String.
BUNDLE_EID: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.11")
_IA5_STRING: Final = 0x16


def other_name(node: str) -> x509.OtherName:
    """What names a node in a certificate's subject alternative names."""
    text = node.encode("ascii")
    if len(text) > 127:
        raise LocalError(f"node id of {len(text)} octets, 127 at most")
    return x509.OtherName(BUNDLE_EID, bytes((_IA5_STRING, len(text))) + text)


def node_ids(certificate: bytes) -> frozenset[Eid]:
    """Nodes that a certificate (DER) names; names that are no node ids are passed over."""
    parsed = x509.load_der_x509_certificate(certificate)
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    found: set[Eid] = set()
    for name in names.get_values_for_type(x509.OtherName):
        value = name.value
        if name.type_id != BUNDLE_EID or len(value) < 2 or value[0] != _IA5_STRING:
            continue
        if value[1] == len(value) - 2:
            try:
                found.add(eid(value[2:].decode("ascii", "replace")).node)
            except LocalError:
                continue
    return frozenset(found)
