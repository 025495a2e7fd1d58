"""Certificates for tests: one that is its own authority; an authority, and who it has signed."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PEM = serialization.Encoding.PEM
_HERE = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


class Certificate(NamedTuple):
    """Paths of PEM files."""

    certificate: Path
    key: Path


def for_localhost(directory: Path, *, days: float = 1.0) -> Certificate:
    """That ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("localhost")
    builder = _builder(name, name, key.public_key(), days=days)
    builder = builder.add_extension(x509.SubjectAlternativeName(_HERE), False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    paths = Certificate(directory / "localhost.pem", directory / "localhost.key")
    paths.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(_PEM))
    _write_key(paths.key, key)
    return paths


class Authority:
    """Writes `ca.pem` into a directory, and pairs NAME.pem, NAME.key that it has signed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("test authority")
        self.file = directory / "ca.pem"
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        self.file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM))

    def issue(self, name: str) -> Certificate:
        """Certificate and key of a name, which is that of a host, too."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name), *_HERE]
        builder = _builder(_named(name), self._name, key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        files = Certificate(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        files.certificate.write_bytes(certificate.public_bytes(_PEM))
        _write_key(files.key, key)
        return files


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float = 1.0
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
