"""The page's files: compressed once, kept in memory, read again when they change on the disk."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

#: Below it, compression saves no packet.
SMALLEST: Final = 500


@dataclass(frozen=True, slots=True)
class _File:
    changed_ns: int
    octets: bytes
    gzipped: bytes
    tag: str
    media_type: str


class StaticFiles:
    """What was under `root` when this was made; nothing else is ever read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._paths = {
            path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()
        }
        self._files: dict[str, _File] = {}

    def respond(self, name: str, request: Request) -> Response:
        """404: there is none of that name."""
        if name not in self._paths:
            return Response("not found", status_code=404, media_type="text/plain")
        file = self._file(name)
        headers = {"etag": file.tag, "cache-control": "no-cache", "vary": "accept-encoding"}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        octets = file.octets
        if file.gzipped and "gzip" in request.headers.get("accept-encoding", ""):
            octets, headers["content-encoding"] = file.gzipped, "gzip"
        return Response(octets, headers=headers, media_type=file.media_type)

    def _file(self, name: str) -> _File:
        path = self._paths[name]
        changed_ns = path.stat().st_mtime_ns
        file = self._files.get(name)
        if file is None or file.changed_ns != changed_ns:
            octets = path.read_bytes()
            if name == "index.html":
                octets = self._with_modules(octets.decode()).encode()
            file = self._files[name] = _File(
                changed_ns,
                octets,
                gzip.compress(octets, mtime=0) if len(octets) >= SMALLEST else b"",
                f'"{hashlib.sha256(octets).hexdigest()[:16]}"',
                mimetypes.guess_type(name)[0] or "text/plain",
            )
        return file

    def _with_modules(self, page: str) -> str:
        """All modules are asked for at once, not one import after another; after the import map."""
        links = "".join(
            f'<link rel="modulepreload" href="/static/{name}">\n'
            for name in sorted(self._paths)
            if name.endswith(".js")
        )
        return re.sub(r'(?=<script type="module")', lambda _: links, page, count=1)
