"""Files to and from the spacecraft, by CFDP: what `l4 file` does, for the page."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from starlette.responses import FileResponse

from ground.console.accounts import Role
from ground.console.context import Context
from ground.console.endpoints import Call, Parameter, Route
from ground.console.handling import described, in_thread
from protocols.errors import LocalError

#: Of a file that is sent from the page: hours of the uplink.  Longer ones go by `l4 file put`.
LONGEST_FILE: Final = 2 << 20
#: In JSON: base64, a name, quotes.
LONGEST_BODY: Final = LONGEST_FILE * 4 // 3 + 4_096

FileName = Annotated[str, Meta(min_length=1, max_length=255)]
Class = Annotated[int, Meta(ge=1, le=2)]


class NewFile(msgspec.Struct, forbid_unknown_fields=True):
    """A file to be sent.  name: on board; content: base64; class: 2 acknowledged, 1 sent once."""

    name: FileName
    content: bytes
    class_: Class = msgspec.field(default=2, name="class")


class FileWanted(msgspec.Struct, forbid_unknown_fields=True):
    """A file that the spacecraft is to send.  name: on board; as: here, empty: the same."""

    name: FileName
    as_: Annotated[str, Meta(max_length=255)] = msgspec.field(default="", name="as")
    class_: Class = msgspec.field(default=2, name="class")


def file_routes(context: Context) -> list[Route]:
    """What the command service's files are asked."""

    def asked(call: Call, operation: str, **arguments: Any) -> Any:
        return described(context.command(call.actor, operation, arguments))

    def send(call: Call) -> Any:
        body: NewFile = call.body
        if len(body.content) > LONGEST_FILE:
            raise LocalError(f"{len(body.content)} octets; at most {LONGEST_FILE} from the page")
        context.files.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="upload-", dir=context.files) as directory:
            # Called as on board in the list; what is no name is refused by the service.
            name = re.sub(r"[^\w.-]|^\.+", "_", body.name.rpartition("/")[2], flags=re.ASCII)
            path = Path(directory) / (name or "file")
            path.write_bytes(body.content)
            arguments = {"path": str(path), "name": body.name, "class": body.class_}
            # Its octets are kept as they are now: the service has copied them when it answers.
            return asked(call, "file-put", **arguments)

    def fetch(call: Call) -> Any:
        body: FileWanted = call.body
        return asked(call, "file-get", **{"name": body.name, "as": body.as_, "class": body.class_})

    def change(operation: str) -> Callable[[Call], Any]:
        return lambda call: asked(call, f"file-{operation}", id=call.path["id"])

    def content(call: Call) -> Any:
        found = context.command(call.actor, "file-list", {})
        paths = [Path(one["path"]) for one in found if one["id"] == call.path["id"] and one["path"]]
        received = (context.files / "received").resolve()
        if not paths or not paths[0].resolve().is_relative_to(received) or not paths[0].is_file():
            raise LocalError(f"transfer {call.path['id']!r} has brought no file that is here")
        return FileResponse(paths[0], media_type="application/octet-stream", filename=paths[0].name)

    id_ = Parameter("id", str, "Transfer, as listed: ENTITY:NUMBER")
    both = (409, 503)
    return [
        Route("GET", "/files", in_thread(lambda c: asked(c, "file-list")),
              "Transfers, the newest first", errors=both),
        Route("POST", "/files", in_thread(send), "Send a file", Role.OPERATOR, NewFile,
              errors=both, longest_body=LONGEST_BODY, name="send_file"),
        Route("POST", "/files/fetch", in_thread(fetch), "Ask the spacecraft for a file",
              Role.OPERATOR, FileWanted, errors=both),
        Route("GET", "/files/{id}/content", in_thread(content), "A file that was received",
              parameters=(id_,), media_type="application/octet-stream", errors=both),
        *(
            Route("POST", f"/files/{{id}}/{name}", in_thread(change(name)), summary,
                  Role.OPERATOR, None, (id_,), errors=both)
            for name, summary in (
                ("suspend", "Send nothing of a transfer for now"),
                ("resume", "Go on with it"),
                ("cancel", "End a transfer"),
            )
        ),
    ]  # fmt: skip
