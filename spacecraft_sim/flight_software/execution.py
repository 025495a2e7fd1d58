"""What services and the executive tell each other about a request."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from protocols.telecommand.verification import FailureCode

#: A request that takes time: resumed once a second, it yields 0, or the number of a step done.
Running = Generator[int, None, None]
#: Executes a request at once, or returns what goes on; raises Refusal.
Handler = Callable[[Mapping[str, Any]], Running | None]
Handlers = Mapping[str, Handler]


class Refusal(Exception):
    """A request cannot be executed; the code goes into its failure report, the text to people."""

    def __init__(self, code: FailureCode, text: str) -> None:
        super().__init__(text)
        self.code = code
