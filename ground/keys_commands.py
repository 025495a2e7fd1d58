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
        list[str] | None,
        typer.Argument(help="Services, bundle nodes or people: receive.yeoju, node.yeoju, ann"),
    ] = None,
    role: Annotated[
        str,
        typer.Option(
            help="Of a person: operator (commands, plans), viewer (looks), guest (telemetry alone)."
        ),
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
    from ground.keyring import changing, write_secret, write_trusted
    from protocols.bus.access import PEOPLE, ROLES, role_of
    from protocols.errors import LocalError

    directory = _directory(keys, run_dir)
    wanted = [(name, role or role_of(name)) for name in names or ()]
    if site:
        wanted += [(name, name) for name in (*ALL_SERVICES, SIMULATOR)]
        wanted.append(("operator", "operator"))
    elif not wanted:
        raise LocalError("l4 keys new: NAME or --site wanted")
    for name, its_role in wanted:
        if its_role not in ROLES:
            raise LocalError(
                f"{name}: no service is called so; "
                f"a person has --role {' or '.join(sorted(PEOPLE))}"
            )
    with changing(directory):
        if site:
            # What is there already stays: others trust it, or it is another host's.
            wanted = [one for one in wanted if not _is_known(directory, one[0])]
        for name, _ in wanted:
            if (directory / f"{name}.key").exists():
                raise LocalError(
                    f"{directory / name}.key is there: `l4 keys rotate {name}` makes it a new one"
                )
            if _is_known(directory, name):
                raise LocalError(
                    f"{name} is trusted here with keys that were made elsewhere; "
                    f"`l4 keys revoke {name}` first if those count no more"
                )
        made = [_fresh(name, its_role) for name, its_role in wanted]
        for holder in made:
            write_secret(directory / f"{holder.name}.key", holder.build())
            write_trusted(directory, holder)
    _print(made, directory, json_)


def _is_known(directory: Path, name: str) -> bool:
    files = (directory / f"{name}.key", directory / "trusted" / f"{name}.pub")
    return any(file.exists() for file in files)


def _fresh(name: str, role: str) -> Holder:
    from protocols.bus.access import Holder

    return Holder(name, role, (_new_key(time.time()),))


@keys_app.command("list", epilog="Example: l4 keys list --json | jq -r '.keys[].name'")
def list_(keys: KeysDir = None, run_dir: RunDir = DEFAULT_RUN_DIR, json_: Json = False) -> None:
    """Who is trusted here, in which role, and which of the keys is in force."""
    from ground.keyring import read_trusted

    directory = _directory(keys, run_dir)
    problems: list[str] = []
    _print(read_trusted(directory, problems).values(), directory, json_)
    for problem in problems:
        print(f"not trusted: {problem}", file=sys.stderr)


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
    """Let a name connect from now on, with the keys in the file and no others of it.

    The name is what the file says: read what is printed. Keys of a name that is trusted with quite
    other ones are refused: they would be somebody else's in its place.
    """
    from ground.keyring import changing, write_trusted

    directory = _directory(keys, run_dir)
    holders = [_given(file) for file in files]
    with changing(directory):
        for holder in holders:
            _check_given(directory, holder)
        for holder in holders:
            write_trusted(directory, holder)
    _print(holders, directory, json_)


def _given(file: str) -> Holder:
    from protocols.bus.access import Holder
    from protocols.errors import LocalError

    if file == "-":
        return Holder.parse(sys.stdin.read(16_384))
    try:
        with Path(file).open("rb") as opened:
            return Holder.parse(opened.read(16_384).decode("ascii", "replace"))
    except OSError as error:
        raise LocalError(f"{file}: {error.strerror}") from None
    except LocalError as error:
        raise LocalError(f"{file}: {error}") from None


def _check_given(directory: Path, holder: Holder) -> None:
    """LocalError: it is trusted under another name, or with none of these keys."""
    from ground.keyring import read_trusted
    from protocols.errors import LocalError

    given = {key.public for key in holder.keys}
    for one in read_trusted(directory, []).values():
        known = {key.public for key in one.keys}
        if one.name != holder.name and given & known:
            raise LocalError(f"{holder.name}: a key of it is {one.name}'s here; each has its own")
        if one.name == holder.name and not given & known:
            has, gets = (
                ", ".join(key.fingerprint for key in which.keys) for which in (one, holder)
            )
            raise LocalError(
                f"{holder.name} is trusted here with {has}, and none of those is among {gets}; "
                f"if its keys were lost or stolen, `l4 keys revoke {holder.name}` first"
            )


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
    from ground.durable_files import sync_directory
    from ground.keyring import changing, write_trusted

    directory = _directory(keys, run_dir)
    _trusted(directory, name)
    with changing(directory):
        holder = _trusted(directory, name)
        left = _left(holder, fingerprint, superseded=superseded)
        if left:
            write_trusted(directory, replace(holder, keys=left))
        else:
            (directory / "trusted" / f"{name}.pub").unlink()
            sync_directory(directory / "trusted")
    gone = [key for key in holder.keys if key not in left]
    if json_:
        print(json.dumps({"name": name, "revoked": [key.fingerprint for key in gone]}))
    else:
        what = ", ".join(key.fingerprint for key in gone) or "nothing"
        print(f"{name}: {what} revoked in {directory}; do the same on every host that trusts it")


def _left(holder: Holder, fingerprint: str, *, superseded: bool) -> tuple[Key, ...]:
    from protocols.errors import LocalError

    if fingerprint:
        left = tuple(key for key in holder.keys if key.fingerprint != fingerprint)
        if len(left) == len(holder.keys):
            has = ", ".join(key.fingerprint for key in holder.keys)
            raise LocalError(f"{holder.name} has no key {fingerprint}; it has {has}")
        return left
    if superseded:
        force = holder.in_force(time.time())
        return tuple(key for key in holder.keys if key.valid_from_s >= force.valid_from_s)
    return ()


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
    from ground.keyring import changing, write_secret, write_trusted
    from protocols.errors import LocalError

    directory = _directory(keys, run_dir)
    chosen = list(names or ())
    if every:
        chosen += [path.stem for path in sorted(directory.glob("*.key")) if path.stem not in chosen]
    if not chosen:
        raise LocalError("l4 keys rotate: NAME or --all wanted")
    with changing(directory):
        made = [_rotated(directory, name, in_s) for name in chosen]
        for fresh in made:
            # Trusted first: no instant at which it is used and not known here.
            write_trusted(directory, fresh)
            write_secret(directory / f"{fresh.name}.key", fresh.build())
    _print(made, directory, json_)


def _rotated(directory: Path, name: str, in_s: int) -> Holder:
    """Its keys with one more, without those that were revoked."""
    from ground.keyring import Keyring
    from protocols.errors import LocalError

    own = Keyring(directory, name).own()
    now_s = time.time()
    listed = {key.public for key in _trusted(directory, name).keys}
    kept = tuple(key for key in own.keys if key.public in listed)
    if not kept:
        raise LocalError(
            f"{name}: none of its keys is trusted here any more; "
            f"move {name}.key away and `l4 keys new {name}`"
        )
    holder = replace(own, keys=kept)
    # Never two of one second: the newer one must be told from the older.
    latest = max(key.valid_from_s for key in own.keys)
    fresh = holder.with_key(_new_key(max(int(now_s) + in_s, latest + 1)))
    if holder.in_force(now_s) not in fresh.keys:
        raise LocalError(
            f"{name}: {len(holder.keys)} keys, all of them to come but one; "
            "wait until some count, or `l4 keys revoke --fingerprint`"
        )
    return fresh


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
