"""How routes do their work and say what they found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool

from ground.console.endpoints import Call, Handler
from ground.console.model import ms, plain
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_unix_ns, utc_iso_from_tai_ns


def tai_ns(unix_ms: float) -> int:
    return int(tai_ns_from_unix_ns(round(unix_ms * 1e6)))


def described(value: Any) -> Any:
    """A service's answer for JSON: octets in hexadecimal, each `…_ns` as UTC and as `…_ms`."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        out: dict[str, Any] = {}
        for name, one in value.items():
            if name == "stages":
                out[name] = [_stage(stage) for stage in one]
            elif isinstance(one, int) and name.endswith("_ns"):
                known = one > 10**17
                out[name.removesuffix("_ns") + "_utc"] = utc_iso_from_tai_ns(one) if known else None
                out[name.removesuffix("_ns") + "_ms"] = ms(one) if known else 0
            else:
                out[name] = described(one)
        return out
    if isinstance(value, list | tuple):
        return [described(one) for one in value]
    if isinstance(value, int) and abs(value) > 2**53:
        return utc_iso_from_tai_ns(value) if value > 10**17 else str(value)
    return plain(value)


def _stage(stage: list[Any]) -> dict[str, Any]:
    name, state, opens_ns, closes_ns, time_ns, step, detail = stage
    return {
        "name": name,
        "state": state,
        "opens_ms": ms(opens_ns),
        "closes_ms": ms(closes_ns),
        "time_ms": ms(time_ns),
        "step": step,
        "detail": detail,
    }


def in_person(call: Call, what: str) -> None:
    """LocalError for a script's token: who has got hold of one must not get more with it."""
    if call.session is not None and call.session.token_number:
        raise LocalError(f"{what} by people who have signed in, not by token")


def in_thread(work: Callable[[Call], Any]) -> Handler:
    """A handler that may wait for a disk or a service."""

    async def handler(call: Call) -> Any:
        return await run_in_threadpool(work, call)

    return handler


def at_once(work: Callable[[Call], Any]) -> Handler:
    async def handler(call: Call) -> Any:
        return work(call)

    return handler
