"""Files through the command service: up between commands, down beside telemetry."""

from __future__ import annotations

import random
from pathlib import Path

from tests.ground.command.test_engine import begun
from tests.ground.command.world import World


def test_there_and_back_with_losses_kills_and_a_command_between(tmp_path: Path) -> None:
    world = begun(
        World(store=tmp_path / "command.sqlite", files=tmp_path / "files", loss=0.1, seed=2)
    )
    data = random.Random(3).randbytes(20_000)
    (tmp_path / "table.bin").write_bytes(data)
    put = world.ask("file-put", path=str(tmp_path / "table.bin"), name="tables/a.bin")["id"]

    def state(transfer: str) -> str:
        return next(one["state"] for one in world.ask("file-list") if one["id"] == transfer)

    world.run(30)
    number = world.command("TEST_CONNECTION")
    world.run(60)
    # A command does not wait for the file's end.
    assert world.state(number) != "waiting"
    world.kill()
    world.until(lambda: state(put) == "complete", 30_000)
    get = world.ask("file-get", name="tables/a.bin", **{"as": "back.bin"})["id"]
    world.run(600)
    world.kill()
    world.until(lambda: state(get) == "complete", 60_000)
    (line,) = [one for one in world.ask("file-list") if one["id"] == get]
    assert Path(line["path"]).read_bytes() == data
    world.until(lambda: world.state(number) == "completed", 10_000)
    told = [one["text"] for one in world.ask("history", last=500) if one["event"] == "file"]
    assert any(text.startswith(f"put {put}") for text in told)
