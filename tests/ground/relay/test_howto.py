"""The how-to's files start a node."""

from __future__ import annotations

import re
from pathlib import Path

from ground.relay.settings import load_relay_settings
from protocols.dtn.eid import eid

HOWTO = Path(__file__).parents[3] / "docs" / "howto" / "run-a-relay-node.md"


def test_the_files_of_the_howto_are_read(tmp_path: Path) -> None:
    text = HOWTO.read_text()
    toml, tls = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (plan,) = re.findall(r"```\n(a contact.*?)```", text, re.DOTALL)
    (tmp_path / "plan.ionrc").write_text(plan)
    (tmp_path / "yeoju.toml").write_text(toml + tls)
    settings = load_relay_settings(tmp_path / "yeoju.toml")
    assert settings.node.node == eid("ipn:5.0")
    assert settings.connect == (("127.0.0.1", 4557),)
    assert settings.node.limits_bit_s == {6: 200_000_000.0}
    assert settings.node.classify(eid("ipn:40.1"), eid("ipn:9.77"), 100) == (2, True)
    assert settings.node.classify(eid("ipn:40.1"), eid("ipn:9.1"), 100) == (0, False)
    assert {(c.source, c.dest) for c in settings.plan.contacts} == {(5, 6), (6, 5)}
    assert settings.tls.certificate == tmp_path / "node.pem"


def test_neighbours_of_other_layers_are_read(tmp_path: Path) -> None:
    text = HOWTO.read_text()
    (toml, _) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (more,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    (tmp_path / "yeoju.toml").write_text(toml.replace('plan = "plan.ionrc"', "") + more)
    settings = load_relay_settings(tmp_path / "yeoju.toml")
    assert settings.others == {"stcp": (("127.0.0.1", 4558), {})}
    (link,) = settings.ltp
    assert (link.neighbour, link.listen, link.owlt_s) == (7, ("127.0.0.1", 1114), 1.3)
