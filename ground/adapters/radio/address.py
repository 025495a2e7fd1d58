"""Addresses of radio adapters: what stands before the colon names the adapter, the rest is its own.

    udp://0.0.0.0:10015?frame_length=1115      a host and port (tcp, zmq, rtl-tcp, difi)
    file:frames.u8?frame_length=1115           a path (file, sigmf)
    soapy:driver=rtlsdr,serial=1?rate=2e6      whatever the adapter says (soapy, loopback)

Everything behind the question mark is an option that the adapter has declared; one it does not know
is an error that lists those it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from protocols.errors import LocalError


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an adapter: how its text is read, what it is without, what it says."""

    read: Callable[[str], Any]
    default: Any
    help: str


def options(**known: Option) -> Mapping[str, Option]:
    """What an adapter declares as its `OPTIONS`."""
    return MappingProxyType(known)


@dataclass(frozen=True, slots=True)
class Address:
    """An adapter's address in its parts; `text` is the whole.

    rest: between the colon and the question mark, without `//`.  given: the options as written.
    """

    text: str
    scheme: str
    rest: str
    given: Mapping[str, str]

    def host_and_port(self) -> tuple[str, int]:
        """`rest` as HOST:PORT, IPv6 in brackets.  LocalError if it is none."""
        host, _, port = self.rest.removesuffix("/").rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:
            raise LocalError(f"{self.text}: {self.scheme}://HOST:PORT wanted")
        return host.removeprefix("[").removesuffix("]"), int(port)

    def options(self, known: Mapping[str, Option]) -> dict[str, Any]:
        """Values of all options, those not given at their defaults.

        LocalError: one that is not known, or whose value cannot be read.
        """
        for name in self.given:
            if name not in known:
                raise LocalError(
                    f"{self.text}: {self.scheme} has no option {name!r}; "
                    f"{', '.join(known) or 'none'} are known"
                )
        values: dict[str, Any] = {}
        for name, option in known.items():
            text = self.given.get(name)
            try:
                values[name] = option.default if text is None else option.read(text)
            except ValueError as error:
                raise LocalError(f"{self.text}: {name}={text!r}: {option.help}") from error
        return values


def parse_address(text: str) -> Address:
    """The parts of an address.

    >>> parse_address("udp://127.0.0.1:10015?frame_length=1115").host_and_port()
    ('127.0.0.1', 10015)
    >>> parse_address("soapy:driver=rtlsdr,serial=1?rate=2e6").given
    {'rate': '2e6'}
    >>> parse_address("zmq-iq://h:1?rate=2e+6&topic=a%26b").given
    {'rate': '2e+6', 'topic': 'a&b'}
    """
    scheme, colon, rest = text.partition(":")
    if not colon or not scheme:
        raise LocalError(f"{text!r} is no adapter's address; SCHEME:… wanted, as udp://HOST:PORT")
    rest, _, query = rest.partition("?")
    # Not parse_qsl: it would make the plus of 2e+6 a space.
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    given = {unquote(name): unquote(value) for name, _, value in pairs}
    return Address(text, scheme, unquote(rest.removeprefix("//")), given)


def number(text: str) -> float:
    """As 2.4e6, at least 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def count(text: str) -> int:
    """A whole number, at least 0; as 1e6 too."""
    value = number(text)
    if value != int(value):
        raise ValueError(text)
    return int(value)


def choice(*allowed: str) -> Callable[[str], str]:
    """One of some words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return read


__all__ = ["Address", "Option", "choice", "count", "number", "options", "parse_address"]
