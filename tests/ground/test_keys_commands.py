"""`l4 keys` as it is typed, and that no secret half is ever printed."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ground.cli import app
from ground.command.security import load_keys
from ground.keyring import Keyring, person, read_trusted
from ground.keys_commands import keys_app, rotate
from ground.receive.link_security import LinkSecurity
from protocols.bus.access import Holder
from protocols.errors import LocalError
from tests.site_keys import fresh_key


class Site:
    """A keys directory; all that was printed is kept."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.printed = ""

    def __call__(self, *words: str, input: str | None = None) -> str:
        # Not by way of `l4` whole, which is made anew at each call.
        result = CliRunner().invoke(keys_app, [*words, "--keys", str(self.directory)], input=input)
        self.printed += result.output
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    def listed(self) -> dict[str, Any]:
        return {one["name"]: one for one in json.loads(self("list", "--json"))["keys"]}


def test_keys_are_made_shown_trusted_rotated_and_revoked(tmp_path: Path) -> None:
    centre, yeoju = Site(tmp_path / "centre"), Site(tmp_path / "yeoju")
    centre("new", "bus", "monitor")
    centre("new", "ann", "--role", "operator")
    yeoju("new", "receive.yeoju")
    assert {path.stat().st_mode & 0o777 for path in centre.directory.glob("*.key")} == {0o600}
    assert person(centre.directory) == "ann"
    assert centre.listed()["ann"]["role"] == "operator"

    centre("trust", "-", input=yeoju("show", "receive.yeoju"))
    there = centre.listed()["receive.yeoju"]
    assert (there["role"], there["secret_here"]) == ("receive", False)
    (first,) = there["keys"]
    assert first["fingerprint"] == yeoju.listed()["receive.yeoju"]["keys"][0]["fingerprint"]

    yeoju("rotate", "receive.yeoju", "--in", "3600")
    public = tmp_path / "receive.yeoju.pub"
    public.write_text(yeoju("show", "receive.yeoju"))
    centre("trust", str(public))
    keys = centre.listed()["receive.yeoju"]["keys"]
    assert [key["state"] for key in keys] == ["in force", "to come"]
    # Both ends will take up the same key at the same instant.
    ahead_s = time.time() + 3700
    new = Keyring(yeoju.directory, "receive.yeoju").own().in_force(ahead_s)
    assert read_trusted(centre.directory)["receive.yeoju"].in_force(ahead_s).public == new.public

    centre("revoke", "receive.yeoju", "--fingerprint", first["fingerprint"])
    (left,) = centre.listed()["receive.yeoju"]["keys"]
    assert left["fingerprint"] == new.fingerprint
    centre("revoke", "ann")
    assert "ann" not in centre.listed()

    for site in (centre, yeoju):
        for file in site.directory.glob("*.key"):
            for key in json.loads(file.read_text())["keys"]:
                assert key["secret"] not in centre.printed + yeoju.printed + public.read_text()


def test_a_whole_site_has_keys_and_keeps_those_it_has(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site("new", "bus")
    before = (tmp_path / "bus.key").read_text()
    site("new", "--site")
    assert (tmp_path / "bus.key").read_text() == before
    assert {"monitor", "console", "spacecraft_sim", "operator"} <= set(site.listed())
    assert all(one["secret_here"] for one in site.listed().values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new",), "NAME or --site wanted"),
        (
            ("new", "ann"),
            "no service is called so; a person has --role guest or operator or viewer",
        ),
        (("new", "../x", "--role", "viewer"), "name '../x'"),
        (("new", "monitor", "--role", "viewer"), "there"),
        (("rotate", "archive"), "archive has no key"),
        (("revoke", "archive"), "archive is not trusted"),
        (("revoke", "monitor", "--fingerprint", "0"), "monitor has no key 0"),
        (("show", "../x"), "is not trusted"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    site = Site(tmp_path / "keys")
    site("new", "monitor")
    with pytest.raises(LocalError, match=said.replace("(", r"\(")):
        site(*words)
    assert not (tmp_path / "x.key").exists()


def test_keys_of_the_space_link_are_made_for_it(tmp_path: Path) -> None:
    command, downlink = tmp_path / "command.keys", tmp_path / "downlink.key"
    for words in ((str(command),), (str(downlink), "--downlink")):
        result = CliRunner().invoke(app, ["keys", "link", *words])
        assert result.exit_code == 0, result.output
    keys = load_keys(str(command))
    assert len({keys.command, keys.management, keys.master}) == 3
    assert keys.command.hex() not in result.output
    assert len(LinkSecurity.load(16, downlink).key) == 32
    for file in (command, downlink):
        file.chmod(0o644)
    with pytest.raises(LocalError, match="others can read"):
        load_keys(str(command))
    with pytest.raises(LocalError, match="others can read"):
        LinkSecurity.load(16, downlink)
    with pytest.raises(LocalError, match="is there"):
        CliRunner().invoke(app, ["keys", "link", str(command)], catch_exceptions=False)


def test_a_key_that_was_revoked_does_not_come_back_with_the_next_one(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site("new", "monitor")
    stolen = Keyring(tmp_path, "monitor").own().keys[0].public
    site("rotate", "monitor", "--in", "0")
    time.sleep(1.1)
    site("revoke", "monitor", "--superseded")
    site("rotate", "monitor", "--in", "0")
    holder = read_trusted(tmp_path)["monitor"]
    assert len(holder.keys) == 2
    # Nor where it was never revoked: a host that was forgotten.
    for ahead_s in range(0, 700, 10):
        assert not holder.accepts(stolen, time.time() + ahead_s)
    site("revoke", "monitor")
    with pytest.raises(LocalError, match="monitor is not trusted"):
        site("rotate", "monitor")


def test_only_the_key_before_is_good_for_a_while() -> None:
    keys = tuple(fresh_key(1000 * (number + 1)) for number in range(3))
    holder = Holder("monitor", "monitor", keys)
    assert [holder.accepts(key.public, 3001) for key in keys] == [False, True, True]
    assert [holder.accepts(key.public, 3300) for key in keys] == [False, False, True]
    assert [holder.accepts(key.public, 2999) for key in keys] == [False, True, True]


def test_nobodys_keys_are_put_in_the_place_of_anothers(tmp_path: Path) -> None:
    centre, stranger = Site(tmp_path / "centre"), Site(tmp_path / "stranger")
    for site in (centre, stranger):
        site("new", "bus")
    before = centre.listed()["bus"]["keys"]
    with pytest.raises(LocalError, match=r"bus is trusted here with .* `l4 keys revoke bus` first"):
        centre("trust", "-", input=stranger("show", "bus"))
    # A service's key under another name.
    public = json.loads(centre("show", "bus"))
    public |= {"name": "ann", "role": "operator"}
    with pytest.raises(LocalError, match="a key of it is bus's here"):
        centre("trust", "-", input=json.dumps(public))
    # A person that is called as a service is.
    stranger("new", "ann", "--role", "operator")
    for name in ("command", "receive.yeoju", "bus"):
        called = json.loads(stranger("show", "ann")) | {"name": name}
        with pytest.raises(LocalError, match="a service is called so, no operator"):
            centre("trust", "-", input=json.dumps(called))
    assert centre.listed()["bus"]["keys"] == before
    # Whoever only trusts a service does not make it other keys by mistake.
    only = Site(tmp_path / "only")
    only("trust", "-", input=centre("show", "bus"))
    only("new", "--site")
    assert only.listed()["bus"]["keys"] == before
    with pytest.raises(LocalError, match="made elsewhere"):
        only("new", "bus")


def test_two_rotate_at_once_and_neither_key_is_lost(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site("new", "monitor")

    def once() -> None:
        rotate(["monitor"], every=False, in_s=9, keys=tmp_path)

    threads = [threading.Thread(target=once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own, trusted = Keyring(tmp_path, "monitor").own(), read_trusted(tmp_path)["monitor"]
    assert len(own.keys) == 5
    assert own.public_only == trusted


def test_the_key_in_force_is_not_pushed_out_by_those_to_come(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site("new", "monitor")
    force = Keyring(tmp_path, "monitor").own().in_force(time.time())
    for _ in range(7):
        rotate(["monitor"], every=False, in_s=3600, keys=tmp_path)
    with pytest.raises(LocalError, match="8 keys, all of them to come but one"):
        site("rotate", "monitor", "--in", "3600")
    assert Keyring(tmp_path, "monitor").own().in_force(time.time()) == force
