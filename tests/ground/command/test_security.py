"""A key rolls over through the command service, with a second person at every step."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols.errors import LocalError
from tests.ground.command.test_engine import begun
from tests.ground.command.world import World


def manage(world: World, action: str, *numbers: int) -> int:
    number = world.ask("security", action=action, numbers=list(numbers))["number"]
    world.ask("arm", number=number)
    with pytest.raises(LocalError, match="second person"):
        world.ask("send", number=number)
    world.ask("approve", actor="bob", number=number)
    world.ask("send", number=number)
    world.until(lambda: world.state(number) in ("completed", "failed", "held"), 3_000)
    assert world.state(number) == "completed", world.ask("show", number=number)["reason"]
    return number


def test_a_key_rolls_over(tmp_path: Path) -> None:
    world = begun(World(store=tmp_path / "command.sqlite"))
    manage(world, "otar", 10)
    world.kill()
    verified = manage(world, "verify", 10)
    world.run(60)
    texts = [one["text"] for one in world.ask("show", number=verified)["history"]]
    assert "key 10 verified" in texts
    for action, *numbers in (("activate", 10), ("rekey", 3, 10), ("start", 3)):
        manage(world, str(action), *map(int, numbers))
    with pytest.raises(LocalError, match="frames are sent under it"):
        world.ask("security", action="stop", numbers=[1])
    world.ask("security", action="use", numbers=[0, 3])
    world.kill()
    number = world.command("TEST_CONNECTION")
    world.until(lambda: world.state(number) == "completed", 3_000)
    for action, *numbers in (("stop", 1), ("expire", 1), ("deactivate", 1)):
        manage(world, str(action), *map(int, numbers))
    keys = world.ask("keys")
    assert {one["id"]: one["state"] for one in keys["keys"]}[1] == "DEACTIVATED"
    assert {"map": 0, "spi": 3} in keys["routes"]
    assert world.spacecraft.software.receiver.statistics.insecure == 0
    # The history names keys by number and holds none.
    shown = str(world.ask("history", last=1_000)) + str(keys)
    assert world.keys.command.hex() not in shown
