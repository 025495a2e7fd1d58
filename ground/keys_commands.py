"""`l4 keys`: keys of services and people, whom they trust, and how they change while all runs.

No secret half is ever printed or taken from the command line: they go from the generator into
files that their owner alone can read.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from protocols.bus.access import Holder, Key

DEFAULT_RUN_DIR = Path("var/run")
#: Until a new key counts: time to carry its public half to the other hosts.
ROTATE_IN_S = 60

keys_app = typer.Typer(
    help="Keys of services and people: who may connect to what, and publish what.",
    no_args_is_help=True,
    epilog="`l4 keys new --site`, then `l4 run`: every socket of the run is authenticated and "
    "encrypted. How several hosts come to trust one another: docs/howto/keys.md",
)

RunDir = Annotated[Path, typer.Option("--run-dir", help="The run whose keys directory is meant.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
KeysDir = Annotated[
    Path | None, typer.Option("--keys", help="Keys directory (default: that of the run).")
]


def _directory(keys: Path | None, run_dir: Path) -> Path:
    if keys is not None:
        return keys
    if (run_dir / "run.toml").is_file():
        from ground.config import load_settings

        return load_settings(run_dir).keys_dir or run_dir / "keys"
    return run_dir / "keys"


def _new_key(valid_from_s: float) -> Key:
    import zmq

    from protocols.bus.access import Key

    public, secret = zmq.curve_keypair()
    return Key(public.decode(), int(valid_from_s), secret.decode())


@keys_app.command(
    epilog="Examples: l4 keys new --site · l4 keys new receive.yeoju · "
    "l4 keys new ann --role operator --keys /etc/l4/keys"
)
def new(
    names: Annotated[
        list[str] | None, typer.Argument(help="Services or people: monitor, receive.yeoju, ann")
    ] = None,
    role: Annotated[
        str, typer.Option(help="Of a person: operator (commands, plans) or viewer (looks).")
    ] = "",
    site: Annotated[
        bool, typer.Option("--site", help="Every service of a site, its station, an operator.")
    ] = False,
    keys: KeysDir = None,
    run_dir: RunDir = DEFAULT_RUN_DIR,
    json_: Json = False,
) -> None:
    """Make keys, and trust them in this keys directory."""
    from ground.config import ALL_SERVICES, SIMULATOR
    from ground.keyring import write_secret, write_trusted
    from protocols.bus.access import PEOPLE, ROLES, Holder, role_of
    from protocols.errors import LocalError

    directory = _directory(keys, run_dir)
    wanted = [(name, role or role_of(name)) for name in names or ()]
    if site:
        wanted += [(name, name) for name in (*ALL_SERVICES, SIMULATOR)]
        wanted.append(("operator", "operator"))
        # What is there already stays: others trust it.
        wanted = [one for one in wanted if not (directory / f"{one[0]}.key").exists()]
    elif not wanted:
        raise LocalError("l4 keys new: NAME or --site wanted")
    for name, its_role in wanted:
        if its_role not in ROLES:
            raise LocalError(
                f"{name}: no service is called so; "
                f"a person has --role {' or '.join(sorted(PEOPLE))}"
            )
        if (directory / f"{name}.key").exists():
            raise LocalError(
                f"{directory / name}.key is there: `l4 keys rotate {name}` makes it a new one"
            )
    made: list[Holder] = []
    for name, its_role in wanted:
        holder = Holder(name, its_role, (_new_key(time.time()),))
        write_secret(directory / f"{name}.key", holder.build())
        write_trusted(directory, holder)
        made.append(holder)
    _print(made, directory, json_)


@keys_app.command("list", epilog="Example: l4 keys list --json | jq -r '.keys[].name'")
def list_(keys: KeysDir = None, run_dir: RunDir = DEFAULT_RUN_DIR, json_: Json = False) -> None:
    """Who is trusted here, in which role, and which of the keys is in force."""
    from ground.keyring import read_trusted

    directory = _directory(keys, run_dir)
    _print(read_trusted(directory).values(), directory, json_)


@keys_app.command(
    epilog="Examples: l4 keys show receive.yeoju > receive.yeoju.pub · "
    "l4 keys show bus | ssh yeoju l4 keys trust -"
)
def show(
    name: Annotated[str, typer.Argument(help="Service or person.")],
    keys: KeysDir = None,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Print the public keys of a name, as `l4 keys trust` takes them: they are no secret."""
    print(_trusted(_directory(keys, run_dir), name).build(), end="")


@keys_app.command(epilog="Examples: l4 keys trust receive.yeoju.pub · l4 keys trust - < ann.pub")
def trust(
    files: Annotated[list[str], typer.Argument(help="Files of `l4 keys show`; - for input.")],
    keys: KeysDir = None,
    run_dir: RunDir = DEFAULT_RUN_DIR,
    json_: Json = False,
) -> None:
    """Let a name connect from now on, with the keys in the file and no others of it."""
    from ground.keyring import read_holder, write_trusted
    from protocols.bus.access import Holder

    directory = _directory(keys, run_dir)
    holders = [
        Holder.parse(sys.stdin.read(16_384)) if file == "-" else read_holder(Path(file))
        for file in files
    ]
    for holder in holders:
        write_trusted(directory, holder)
    _print(holders, directory, json_)


@keys_app.command(
    epilog="Examples: l4 keys revoke ann · l4 keys revoke monitor --superseded · "
    "l4 keys revoke monitor --fingerprint 0123456789abcdef"
)
def revoke(
    name: Annotated[str, typer.Argument(help="Service or person.")],
    fingerprint: Annotated[str, typer.Option(help="Only this key of it.")] = "",
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Only keys that a newer one is in force for.")
    ] = False,
    keys: KeysDir = None,
    run_dir: RunDir = DEFAULT_RUN_DIR,
    json_: Json = False,
) -> None:
    """Trust a name, or some of its keys, no more; who is connected with one is cut off at once."""
    from ground.keyring import write_trusted
    from protocols.errors import LocalError

    directory = _directory(keys, run_dir)
    holder = _trusted(directory, name)
    now_s = time.time()
    force = holder.in_force(now_s)
    if fingerprint:
        left = tuple(key for key in holder.keys if key.fingerprint != fingerprint)
        if len(left) == len(holder.keys):
            has = ", ".join(key.fingerprint for key in holder.keys)
            raise LocalError(f"{name} has no key {fingerprint}; it has {has}")
    elif superseded:
        left = tuple(key for key in holder.keys if key.valid_from_s >= force.valid_from_s)
    else:
        left = ()
    if left:
        write_trusted(directory, replace(holder, keys=left))
    else:
        (directory / "trusted" / f"{name}.pub").unlink()
    gone = [key for key in holder.keys if key not in left]
    if json_:
        print(json.dumps({"name": name, "revoked": [key.fingerprint for key in gone]}))
    else:
        what = ", ".join(key.fingerprint for key in gone) or "nothing"
        print(f"{name}: {what} revoked in {directory}; do the same on every host that trusts it")


@keys_app.command(
    epilog="Examples: l4 keys rotate monitor · l4 keys rotate --all --in 3600 · "
    "l4 keys rotate bus --in 600 && l4 keys show bus | ssh yeoju l4 keys trust -"
)
def rotate(
    names: Annotated[
        list[str] | None, typer.Argument(help="Services or people whose keys are here.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All whose keys are here.")] = False,
    in_s: Annotated[
        int, typer.Option("--in", min=0, help="Seconds until the new key counts, everywhere.")
    ] = ROTATE_IN_S,
    keys: KeysDir = None,
    run_dir: RunDir = DEFAULT_RUN_DIR,
    json_: Json = False,
) -> None:
    """Make the next key of a name, without stopping anything.

    It counts from the instant that stands in it: until then its public half has to be on the other
    hosts (`l4 keys show`, `l4 keys trust`). The old one is good for five minutes more.
    """
    from ground.keyring import Keyring, write_secret, write_trusted
    from protocols.errors import LocalError

    directory = _directory(keys, run_dir)
    chosen = list(names or ())
    if every:
        chosen += [path.stem for path in sorted(directory.glob("*.key")) if path.stem not in chosen]
    if not chosen:
        raise LocalError("l4 keys rotate: NAME or --all wanted")
    holders = [Keyring(directory, name).own() for name in chosen]
    made: list[Holder] = []
    for holder in holders:
        # Never two of one second: the newer one must be told from the older.
        latest = max(key.valid_from_s for key in holder.keys)
        fresh = holder.with_key(_new_key(max(int(time.time()) + in_s, latest + 1)))
        # Trusted first: no instant at which it is used and not known here.
        write_trusted(directory, fresh)
        write_secret(directory / f"{fresh.name}.key", fresh.build())
        made.append(fresh)
    _print(made, directory, json_)


@keys_app.command(
    epilog="Examples: l4 keys link command.keys · l4 keys link downlink.key --downlink. "
    "The file's name goes into run.toml (command_key) or a mission file ([security]); over the "
    "link itself keys are changed by `l4 command security otar` (docs/howto/keys.md)"
)
def link(
    file: Annotated[Path, typer.Argument(help="Where to; it must not exist.")],
    downlink: Annotated[
        bool, typer.Option("--downlink", help="One key, of an encrypted downlink.")
    ] = False,
) -> None:
    """Make the AES-256 keys of a space link (SDLS, CCSDS 355.0-B), in a file of their own."""
    import secrets

    from ground.keyring import write_secret
    from protocols.errors import LocalError

    if file.exists():
        raise LocalError(f"{file} is there: keys that a spacecraft may have are not written over")
    wanted = 1 if downlink else 3
    write_secret(file, "".join(f"{secrets.token_hex(32)}\n" for _ in range(wanted)))
    what = "downlink key" if downlink else "command, management and master keys"
    print(f"{file}: {what} of 256 bits, to be loaded on board before launch")


def _trusted(directory: Path, name: str) -> Holder:
    from ground.keyring import read_holder
    from protocols.bus.access import is_key_name
    from protocols.errors import LocalError

    path = directory / "trusted" / f"{name}.pub"
    if not is_key_name(name) or not path.is_file():
        raise LocalError(f"{name} is not trusted in {directory}; `l4 keys list` says who is")
    return read_holder(path)


def _described(holder: Holder, directory: Path, now_s: float) -> dict[str, Any]:
    force = holder.in_force(now_s)
    return {
        "name": holder.name,
        "role": holder.role,
        "secret_here": (directory / f"{holder.name}.key").exists(),
        "keys": [
            {
                "fingerprint": key.fingerprint,
                "valid_from_unix_s": key.valid_from_s,
                "state": "in force"
                if key == force
                else "to come"
                if key.valid_from_s > force.valid_from_s
                else "superseded"
                if holder.accepts(key.public, now_s)
                else "refused",
            }
            for key in holder.keys
        ],
    }


def _print(holders: Iterable[Holder], directory: Path, as_json: bool) -> None:
    now_s = time.time()
    told = [_described(holder.public_only, directory, now_s) for holder in holders]
    if as_json:
        print(json.dumps({"directory": str(directory), "keys": told}, indent=2))
        return
    from datetime import UTC, datetime

    from ground.console_commands import show_rows
    from protocols.bus.access import PEOPLE

    print(directory)
    rows: list[dict[str, Any]] = []
    for one in told:
        for i, key in enumerate(one["keys"]):
            when = datetime.fromtimestamp(key["valid_from_unix_s"], UTC)
            row = {
                "name": one["name"],
                "role": one["role"] if one["role"] in PEOPLE else "",
                "ours": "yes" if one["secret_here"] else "",
            }
            rows.append(
                (row if i == 0 else dict.fromkeys(row, ""))
                | {
                    "fingerprint": key["fingerprint"],
                    "valid from": f"{when:%Y-%m-%dT%H:%M:%SZ}",
                    "": key["state"],
                }
            )
    # Fingerprints are compared by eye between hosts: none is shortened.
    show_rows(rows, as_json=False, none="nobody is trusted here")
