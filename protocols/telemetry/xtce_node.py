"""XML elements that know what of them has been read, so that the rest can be refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from typing import Any
from xml.etree.ElementTree import Element

from protocols.errors import RemoteError


class XtceRefused(RemoteError):
    """The document says something that declarations cannot say (or that XTCE does not allow)."""


@dataclass
class Node:
    """An element of which every child and attribute must be asked for, or `finish` refuses it."""

    element: Element
    path: str
    ignore: frozenset[str]
    asked: set[str] = field(default_factory=set[str])

    @property
    def tag(self) -> str:
        return self.element.tag.rsplit("}", 1)[-1]

    def refuse(self, what: str) -> XtceRefused:
        return XtceRefused(f"XTCE {self.path}: {what}")

    def wrap(self, element: Element) -> Node:
        tag = element.tag.rsplit("}", 1)[-1]
        name = element.get("name")
        label = f"{tag}[{name}]" if name else tag
        return Node(element, f"{self.path}/{label}", self.ignore)

    def attribute(self, name: str, default: str | None = None) -> str:
        self.asked.add(name)
        value = self.element.get(name, default)
        if value is None:
            raise self.refuse(f"attribute {name} is missing")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.attribute(name, "true" if default else "false").strip().lower()
        if value not in ("true", "false", "1", "0"):
            raise self.refuse(f"attribute {name}={value!r}; true or false wanted")
        return value in ("true", "1")

    def integer(self, name: str, default: str | None = None) -> int:
        return self._number(self.attribute(name, default), f"attribute {name}", int)

    def real(self, name: str, default: str | None = None) -> float:
        return self._number(self.attribute(name, default), f"attribute {name}", float)

    def _number(self, text: str, what: str, kind: Callable[[str], Any]) -> Any:
        try:
            number = kind(text.strip())
        except ValueError as error:
            raise self.refuse(f"{what} is {text!r}; a number wanted") from error
        if not isfinite(number) or (isinstance(number, int) and abs(number) >= 1 << 64):
            raise self.refuse(f"{what} is {text!r}; out of range")
        return number

    def text(self) -> str:
        self.asked.add("#text")
        return self.element.text or ""

    def content(self, kind: Callable[[str], Any]) -> Any:
        return self._number(self.text(), "content", kind)

    def children(self, tag: str | None = None) -> list[Node]:
        self.asked.add(tag or "*")
        return [node for node in map(self.wrap, self.element) if tag in (None, node.tag)]

    def child(self, tag: str) -> Node | None:
        found = self.children(tag)
        if len(found) > 1:
            raise found[1].refuse("more than one; one wanted")
        return found[0] if found else None

    def need(self, tag: str) -> Node:
        found = self.child(tag)
        if found is None:
            raise self.refuse(f"element {tag} is missing")
        return found

    def finish(self) -> None:
        """Refuse whatever was not asked for."""
        for name in self.element.attrib:
            if name.startswith("{"):
                continue
            if name not in self.asked and name not in self.ignore:
                raise self.refuse(f"attribute {name} has no place in a declaration")
        for node in [] if "*" in self.asked else self.children():
            if node.tag not in self.asked and node.tag not in self.ignore:
                raise node.refuse(f"element {node.tag} has no place in a declaration")

    def ancillary(self) -> dict[str, str]:
        """Our own AncillaryData by name; foreign data is refused."""
        block = self.child("AncillaryDataSet")
        found: dict[str, str] = {}
        for item in block.children("AncillaryData") if block else []:
            name = item.attribute("name")
            if not name.startswith("l4."):
                if "AncillaryData" in self.ignore or "AncillaryDataSet" in self.ignore:
                    continue
                raise item.refuse("element AncillaryData has no place in a declaration")
            found[name] = item.text()
            item.finish()
        if block:
            block.finish()
        return found
