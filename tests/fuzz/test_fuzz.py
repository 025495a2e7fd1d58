"""The short form of `make fuzz`: each target with its corpus and mutations; faults once found."""

from __future__ import annotations

import tomllib
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fuzz.mutation import mutated
from tests.fuzz.table import DOCUMENT, with_table
from tests.fuzz.target import Target, attempt
from tests.fuzz.targets import targets

TARGETS = targets()
#: Octets that broke a promise once, each with what was wrong.
FAULTS = tomllib.loads((Path(__file__).parent / "faults.toml").read_text())["fault"]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_whatever_comes_is_read_or_refused_by_name(target: Target) -> None:
    assert target.corpus, "a target begins with something that its parser reads"
    random = Random(target.name)
    inputs = [b"", *target.corpus[:40]]
    inputs += [
        mutated(random, target.corpus, target.longest, target.tokens) for _ in range(target.short)
    ]
    for octets in inputs:
        fault = attempt(target, octets)
        assert fault is None, f"{fault.what}\n{octets.hex()}"


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_corpus_is_read(target: Target) -> None:
    """Else the mutations would be of noise: most of what is given out as good is taken as such."""
    taken = 0
    for octets in target.corpus[:10]:
        try:
            target.run(octets)
        except target.refuses:
            continue
        taken += 1
    assert taken >= len(target.corpus[:10]) / 2


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['target']} {fault['what']}")
def test_no_fault_comes_back(fault: dict[str, Any]) -> None:
    octets = bytes.fromhex(fault.get("octets", "")) + fault.get("text", "").encode()
    octets += fault.get("then", "").encode() * fault.get("times", 0)
    found = attempt(TARGETS[fault["target"]], octets)
    assert found is None, found.what


def test_the_document_lists_the_targets() -> None:
    """`make fuzz ARGS=--table` writes it anew."""
    text = DOCUMENT.read_text()
    assert with_table(text) == text
