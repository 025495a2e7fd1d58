"""Navigation messages in keyword-value notation (502.0-B-3 §7, 503.0-B-2 §4): lines, and where an
error is."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from protocols.errors import RemoteError


class KeywordLines:
    """The message's lines with content.  kind: of message, for errors.

    Raises RemoteError, as all that it does, for what is no text.
    """

    def __init__(self, octets: bytes, kind: str) -> None:
        self._kind = kind
        try:
            text = octets.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise RemoteError(f"{kind}: not text: {error}", data=octets[:200]) from error
        self._lines = [
            (number, line.strip())
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip()
        ]
        self._at = 0

    def peek(self) -> str | None:
        return self._lines[self._at][1] if self._at < len(self._lines) else None

    def take(self) -> str:
        line = self.peek()
        if line is None:
            self.fail("the message ends too soon")
        self._at += 1
        return line

    def expect(self, wanted: str) -> None:
        """That line, and no other."""
        if self.take() != wanted:
            self.fail(f"{wanted} wanted", taken=True)

    def fail(self, why: str, *, taken: bool = False) -> NoReturn:
        """RemoteError about the next line, or about the one just taken."""
        at = max(0, min(self._at - taken, len(self._lines) - 1))
        number, line = self._lines[at] if self._lines else (1, "")
        raise RemoteError(
            f"{self._kind} line {number}: {why}", data=line.encode()[:200], offset=number
        )

    def keyword(self) -> tuple[str, str]:
        """`KEYWORD = value`, or COMMENT and its text."""
        line = self.take()
        if line.startswith("COMMENT"):
            return "COMMENT", line[7:].strip()
        name, equals, value = line.partition("=")
        if not equals:
            self.fail("KEYWORD = value wanted", taken=True)
        return name.strip(), value.strip()

    def header(
        self, first: str, keywords: Collection[str], *, until: str, clause: str
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        """Keywords before the first segment, and comments.  first: the one that has to begin."""
        kind = self._kind
        strange = f"{first} wanted first: is this {_a(kind)} {kind} in keyword-value notation?"
        header: dict[str, str] = {}
        comments: list[str] = []
        while (line := self.peek()) is not None and line != until:
            name, value = self.keyword()
            if not header and name != first:
                self.fail(strange, taken=True)
            if name == "COMMENT":
                comments.append(value)
            elif name not in keywords:
                self.fail(f"{name} is not a keyword of the {kind} header ({clause})", taken=True)
            else:
                header[name] = value
        if not header:
            self.fail(strange)
        return header, tuple(comments)

    def metadata(
        self, keywords: Collection[str], mandatory: Collection[str], *, clause: str
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        """Keywords up to META_STOP, and comments."""
        values: dict[str, str] = {}
        comments: list[str] = []
        while self.peek() != "META_STOP":
            name, value = self.keyword()
            if name == "COMMENT":
                comments.append(value)
            elif name not in keywords:
                self.fail(
                    f"{name} is not a keyword of {self._kind} metadata ({clause})", taken=True
                )
            elif name in values:
                self.fail(f"{name} stands twice", taken=True)
            else:
                values[name] = value
        self.take()
        for name in mandatory:
            if not values.get(name):
                self.fail(f"{name} is missing in the metadata before", taken=True)
        return values, tuple(comments)


def _a(kind: str) -> str:
    return "an" if kind[0] in "AEIO" else "a"
