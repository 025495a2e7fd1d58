"""Asking a service of a run on this machine how it is."""

from __future__ import annotations

import http.client
import json
from typing import Any

from ground.config import RunSettings

PATIENCE_S = 3.0


def health(settings: RunSettings, service: str) -> dict[str, Any] | None:
    """What its `/healthz` says (`ground.observed`); None: it does not run, or of another run
    directory that has the same ports."""
    connection = http.client.HTTPConnection(*settings.metrics_of(service), timeout=PATIENCE_S)
    try:
        connection.request("GET", "/healthz")
        answer = json.loads(connection.getresponse().read(65_536))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    ours = isinstance(answer, dict) and answer.get("run_dir") == str(settings.run_dir)
    # An antenna's receiver on a host of its own has the port that `receive` has elsewhere.
    ours = ours and answer.get("service") == service
    return answer if ours else None


def running(settings: RunSettings) -> list[str]:
    """Services of this run that answer."""
    return [name for name in settings.services if health(settings, name) is not None]
