"""`l4 keys` as it is typed, and that no secret half is ever printed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ground.cli import app
from ground.command.security import load_keys
from ground.keyring import Keyring, person, read_trusted
from ground.receive.link_security import LinkSecurity
from protocols.errors import LocalError


class Site:
    """A keys directory; all that was printed is kept."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.printed = ""

    def __call__(self, *words: str, input: str | None = None) -> str:
        result = CliRunner().invoke(
            app, ["keys", *words, "--keys", str(self.directory)], input=input
        )
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
        (("new", "ann"), "no service is called so; a person has --role operator or viewer"),
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
