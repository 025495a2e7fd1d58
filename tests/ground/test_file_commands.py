"""`l4 file`: what it prints, and how it ends, through the socket and the spacecraft's own end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ground.answering import CallServer
from ground.command.files import FileTransfers
from ground.config import free_base_port, prepare_run_directory
from ground.file_commands import file_app
from protocols.errors import LocalError
from spacecraft_sim.flight_software.files import EVENT_LOG, Files
from spacecraft_sim.scenario import FileSettings

L4 = CliRunner()
S = 1_000_000_000


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    """A run whose command service is a thread, with the spacecraft's file service beside it."""
    settings = prepare_run_directory(tmp_path, base_port=free_base_port(), command=True)
    stop = threading.Event()

    def serve() -> None:
        transfers = FileTransfers(tmp_path / "files", now_ns=0, owlt_ns=0)
        board = Files(FileSettings(), 0, lambda event: None)
        board.store.files[EVENT_LOG] = b"all is well\n"
        server = CallServer(settings.command_endpoint)
        now_ns = 0
        while not stop.wait(0.005):
            now_ns += S
            server.turn(partial(transfers.operate, now_ns))
            for packet in transfers.take(now_ns, 10_000):
                board.hear(packet)
            board.step(now_ns)
            transfers.hear(now_ns, board.down())
        server.close()
        transfers.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield tmp_path
    stop.set()
    thread.join()


def l4(run_dir: Path, *arguments: str) -> str:
    run = L4.invoke(file_app, [*arguments, "--run-dir", str(run_dir)])
    if run.exception is not None and not isinstance(run.exception, SystemExit):
        raise run.exception
    assert run.exit_code == 0, run.output
    return run.stdout


def test_a_file_up_and_another_down(run_dir: Path) -> None:
    file = run_dir / "limits.bin"
    file.write_bytes(bytes(5_000))
    assert "no transfers" in l4(run_dir, "list")
    up = json.loads(l4(run_dir, "put", str(file), "tables/limits.bin", "--follow", "--json"))
    assert (up["what"], up["state"], up["progress"]) == ("put", "complete", 5_000)
    down = json.loads(l4(run_dir, "get", EVENT_LOG, "--follow", "--json"))
    assert Path(down["path"]).read_bytes() == b"all is well\n"
    again = json.loads(l4(run_dir, "get", "tables/limits.bin", "back.bin", "--follow", "--json"))
    assert Path(again["path"]).read_bytes() == bytes(5_000)
    table = l4(run_dir, "list")
    assert table.index(again["id"]) < table.index(down["id"]) < table.index(up["id"])
    assert "5000 of 5000" in table


def test_what_cannot_be(run_dir: Path) -> None:
    missing = L4.invoke(file_app, ["get", "none", "--follow", "--run-dir", str(run_dir)])
    assert missing.exit_code == 1
    assert "filestore rejection" in missing.stdout
    with pytest.raises(LocalError, match="no transaction 10:77"):
        l4(run_dir, "cancel", "10:77")
    with pytest.raises(LocalError, match="parts allowed"):
        l4(run_dir, "get", "../secret")


def test_an_operation_that_is_repeated_is_done_once(tmp_path: Path) -> None:
    transfers = FileTransfers(tmp_path, now_ns=0, owlt_ns=0)
    (tmp_path / "x").write_bytes(b"x")
    arguments = {"path": str(tmp_path / "x")}
    one = transfers.operate(0, "key", "file-put", arguments)
    transfers.close()
    transfers = FileTransfers(tmp_path, now_ns=0, owlt_ns=0)
    assert transfers.operate(0, "key", "file-put", arguments) == one
    other = transfers.operate(0, "other", "file-put", arguments)
    assert other["id"] != one["id"]
    for operation in ("suspend", "suspend", "resume", "resume", "cancel"):
        transfers.operate(0, operation, f"file-{operation}", {"id": one["id"]})
    with pytest.raises(LocalError, match="file-put, file-get"):
        transfers.operate(0, "", "file-eat", {})
    transfers.close()
