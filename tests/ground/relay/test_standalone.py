"""`l4 relay node` as a process of its own: its keys, what it tells those who watch it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ground.cli import app
from ground.config import free_base_port
from ground.keyring import Keyring, write_secret, write_trusted
from ground.relay.client import BundleClient
from ground.relay.settings import load_relay_settings
from protocols.bus.access import Holder
from protocols.errors import LocalError
from tests.site_keys import fresh_key, make_keys


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_of_its_own_has_keys_and_says_how_it_is(tmp_path: Path) -> None:
    ports = free_base_port()
    applications = f"tcp://127.0.0.1:{ports}"
    file = tmp_path / "yeoju.toml"
    file.write_text(
        f'node = "ipn:5.0"\nname = "Yeoju"\napplications = "{applications}"\nkeys = "keys"\n'
        f'identity = "node.yeoju"\nmetrics = "127.0.0.1:{ports + 1}"\n'
    )
    keys = tmp_path / "keys"
    make_keys(keys, "operator", "guest")
    holder = Holder("node.yeoju", "node", (fresh_key(),))
    write_secret(keys / "node.yeoju.key", holder.build())
    write_trusted(keys, holder)

    def page(name: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports + 1}/{name}", timeout=5) as got:
                return got.status, got.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    node = subprocess.Popen(
        [sys.executable, "-m", "ground.cli", "relay", "node", str(file)], stderr=subprocess.PIPE
    )
    try:
        until(lambda: page("healthz")[0] == 200)
        health = json.loads(page("healthz")[1])
        assert (health["service"], health["state"]) == ("node.yeoju", "running")
        # Who has no key, or one that opens another door, hears nothing.
        with (
            closing(BundleClient(applications, timeout_s=1)) as stranger,
            pytest.raises(LocalError, match="no bundle node answers"),
        ):
            stranger.ask("status")
        with (
            closing(
                BundleClient(
                    applications,
                    server="node.yeoju",
                    keyring=Keyring(keys, "guest"),
                    timeout_s=1,
                )
            ) as guest,
            pytest.raises(LocalError, match="does not trust guest's key"),
        ):
            guest.ask("status")
        # The operator's command finds address, keys and name in the file.
        asked = CliRunner().invoke(
            app,
            ["relay", "send", "ipn:6.7", "hello", "--at", str(file)],
            env={"L4_IDENTITY": "operator"},
        )
        assert asked.exit_code == 0, asked.output
        until(lambda: 'l4_relay_bundles_held{service="node.yeoju"} 1' in page("metrics")[1])
        node.send_signal(signal.SIGTERM)
        assert node.wait(20) == 0
    finally:
        node.kill()
        node.communicate()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('metrics = "0.0.0.0:9560"', "a loopback address wanted"),
        ('metrics = "9560"', "HOST:PORT"),
        ('identity = "relay"', '"node" or "node.NAME" wanted'),
        ("keys = 1", "str wanted"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(f'node = "ipn:5.0"\n{line}\n')
    with pytest.raises(LocalError, match=said):
        load_relay_settings(file)


def test_a_node_without_its_key_or_with_an_address_for_all_does_not_start(tmp_path: Path) -> None:
    from ground.wiring_node import run_standalone

    file = tmp_path / "node.toml"
    file.write_text('node = "ipn:5.0"\nkeys = "keys"\n')
    with pytest.raises(LocalError, match=r"node has no key in .*`l4 keys new node`"):
        run_standalone(load_relay_settings(file), lambda: True)
    file.write_text('node = "ipn:5.0"\napplications = "tcp://0.0.0.0:4560"\n')
    with pytest.raises(LocalError, match="is not a loopback address, and nothing protects it"):
        run_standalone(load_relay_settings(file), lambda: True)
