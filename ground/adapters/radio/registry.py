"""Which adapter an address names: those of this package and of any other that is installed.

A package adds adapters in its pyproject.toml, ours does the same:

    [project.entry-points."l4_relay_ground.adapters"]
    myradio = "my_package.radio:MyRadio"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from ground.adapters.radio.adapter import Adapter
from ground.adapters.radio.address import parse_address
from protocols.errors import LocalError

GROUP = "l4_relay_ground.adapters"


@dataclass(frozen=True, slots=True)
class Known:
    """An adapter that is installed.  why_not: it cannot be loaded here; then there is no class."""

    scheme: str
    package: str
    adapter: type[Adapter] | None
    why_not: str = ""


def schemes() -> list[str]:
    """What an address may begin with here."""
    return sorted(entry_points(group=GROUP).names)


def adapter_class(scheme: str) -> type[Adapter]:
    """LocalError: there is none of that name, or it cannot be loaded."""
    found = [entry for entry in entry_points(group=GROUP) if entry.name == scheme]
    if not found:
        known = ", ".join(schemes())
        raise LocalError(
            f"no adapter is called {scheme!r}; {known} are installed"
            if known
            else "no adapters are installed: this installation is older than its pyproject.toml; "
            "`make run`, `make test` or `pip install -e .` renews it"
        )
    known = _load(found[0])
    if known.adapter is None:
        raise LocalError(f"adapter {scheme!r} ({found[0].value}): {known.why_not}")
    return known.adapter


def _load(entry: EntryPoint) -> Known:
    package = entry.dist.name if entry.dist is not None else ""
    try:
        adapter = entry.load()
    except Exception as error:  # noqa: BLE001 - another package's import may raise anything
        return Known(entry.name, package, None, f"{type(error).__name__}: {error}")
    if not (isinstance(adapter, type) and issubclass(adapter, Adapter)):
        return Known(entry.name, package, None, f"{adapter!r} is no Adapter")
    return Known(entry.name, package, adapter)


def installed() -> Iterator[Known]:
    """All, by name."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        yield _load(entry)


def open_adapter(uri: str, **more: object) -> Adapter:
    """The adapter of an address, not open yet; `more` as in `Adapter`.

    LocalError: no such adapter (those installed are listed), or its address or options are wrong.
    """
    address = parse_address(uri)
    return adapter_class(address.scheme)(address, **more)  # type: ignore[arg-type]


__all__ = ["GROUP", "Known", "adapter_class", "installed", "open_adapter", "schemes"]
