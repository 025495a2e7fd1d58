"""Those of the bridge's tasks that publish."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import aiomqtt

from ground.adapters.clock import ScaledClock
from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.adapters.state_file import StateFile
from ground.mqtt_bridge.outbox import Publication
from ground.mqtt_bridge.service import Item, MqttBridge
from ground.mqtt_bridge.settings import BrokerSettings


async def test_a_sender_ends_at_whatever_instant_it_is_told_to(tmp_path: Path) -> None:
    """Before Python 3.12 `asyncio.wait_for` forgets a cancellation that comes with the answer."""

    class Client:
        """As aiomqtt's: a publication is done when the event that stands for PUBACK is set."""

        pending_calls_threshold = 0

        def __init__(self) -> None:
            self.acknowledged = asyncio.Event()

        async def publish(self, *_: object, **__: object) -> None:
            await asyncio.wait_for(self.acknowledged.wait(), 30)

    settings = BrokerSettings(host="localhost", port=1883, tls=False, mission="l4_relay")
    bus = LoopbackBus("mqtt_bridge", LoopbackExchange())
    state = StateFile(tmp_path / "state")
    bridge = MqttBridge(settings, bus, ScaledClock(0, 0), state, service="mqtt_bridge")
    for turns in range(8):
        client, queue = Client(), asyncio.Queue[Item]()
        queue.put_nowait((None, Publication("t", b"", 1)))
        sender = asyncio.create_task(bridge._send(cast(aiomqtt.Client, client), queue))
        while not queue.empty():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        client.acknowledged.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        sender.cancel()
        done, _ = await asyncio.wait([sender], timeout=2)
        assert done, turns
