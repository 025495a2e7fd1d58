"""`l4 relay` against nodes that run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ground.relay_commands import relay_app
from protocols.errors import LocalError
from tests.ground.relay.test_relay import chain_of, status, until


def l4_relay(*arguments: str) -> str:
    got = CliRunner().invoke(relay_app, arguments)
    if got.exception is not None and not isinstance(got.exception, SystemExit):
        raise got.exception
    assert got.exit_code == 0, got.output
    return got.stdout


def test_what_is_sent_by_one_command_is_received_by_another(tmp_path: Path) -> None:
    octets = bytes(range(256)) * 300
    (tmp_path / "plan.bin").write_bytes(octets)
    with chain_of(tmp_path, 2) as chain:
        at, there = ("--at", chain.agents[1]), ("--at", chain.agents[2])
        said = l4_relay("send", "ipn:2.7", "--file", str(tmp_path / "plan.bin"), *at)
        assert said.startswith("76,800 octets stored as ipn:1.0")
        sent = json.loads(
            l4_relay("send", "ipn:2.7", "all well", *at, "--json", "--lifetime", "2h")
        )
        assert sent["verdict"] == "stored"
        until(lambda: status(chain, 2)["held_bundles"] == 2)
        assert "waits for its application" in l4_relay("held", *there)
        got = l4_relay(
            *("receive", "ipn:2.7", "--count", "2", "--seconds", "20"),
            *("--save", str(tmp_path / "in"), "--json", *there),
        )
        found = [json.loads(line) for line in got.splitlines()]
        assert {one["text"] for one in found} >= {"all well"}
        payloads = {Path(one["file"]).read_bytes() for one in found}
        assert payloads == {octets, b"all well"}
        assert "holds nothing" in l4_relay("status", *there)


def test_a_node_tells_what_it_holds_and_why(tmp_path: Path) -> None:
    with chain_of(tmp_path, 2) as chain:
        at = ("--at", chain.agents[1])
        l4_relay("send", "ipn:9.7", "nowhere", *at)
        (held,) = json.loads(l4_relay("held", "--json", *at))
        assert "no route" in held["why"]
        assert l4_relay("held", "--destination", "ipn:2", *at) == "it holds no bundle\n"
        assert "no route in the contact plan" in l4_relay("held", *at)
        assert "best of all routes" in l4_relay("routes", "ipn:2.1", *at)
        assert "no contact to or from 9" in l4_relay("routes", "ipn:9.1", *at)
        assert "always" in l4_relay("contacts", *at)
        assert "1 normal" in l4_relay("status", *at)
        assert "0 added" in l4_relay("reload", *at)
        assert l4_relay("drop", str(held["ref"]), *at) == f"bundle {held['ref']} is deleted\n"
        assert l4_relay("held", *at) == "it holds no bundle\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("send", "ipn:2.1"), "a message, - or --file wanted"),
        (("send", "ipn:2.1", "x", "--lifetime", "1y"), "--lifetime 1y: a number and s, m, h or d"),
        (("status", "--at", "nowhere"), "--at nowhere: site, centre, a node's file"),
        (("node", "none.toml"), "none.toml: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(LocalError, match=words) as caught:
        l4_relay(*arguments)
    assert "\n" not in str(caught.value)


def test_without_a_run_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run here"):
        l4_relay("status", "--run-dir", str(tmp_path))
