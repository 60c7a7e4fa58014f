"""The report served to this machine's browser, or through `ssh -L` to another's, with the recordings that it plays."""

from __future__ import annotations

import mimetypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from ser.apps.report_page import recordings_at_hand
from ser.base.errors import SerError
from ser.training.options import read_config
from ser.training.run_folder import CONFIG

_NAMES = ("127.0.0.1", "localhost")  # a page of another name that was pointed here may read nothing
_CHUNK = 1 << 20


class ReportServer(ThreadingHTTPServer):
    """Serves on 127.0.0.1 what the report of an experiment needs, and nothing else, under each file's absolute path.

    Readable are the page, the files in the experiment's folder, unless a symbolic link leads out of it, and the
    recordings that the data directories of its runs name. So the links of the page hold, which are relative to it.

    Args:
        exp: the experiment's folder.
        page: the report.
        port: 0 chooses a free one (`server_port`).

    Raises:
        SerError: there is no report, or the port is in use or may not be had.
    """

    def __init__(self, exp: Path, page: Path, port: int) -> None:
        if not page.is_file():
            raise SerError(f"{page}: no such report; make it first, without --serve or by run.sh --stage 5")
        self.page, self._exp = page.resolve(), exp.resolve()
        self.path = quote(str(self.page))
        self._recordings = frozenset(_recordings(self._exp))
        try:
            super().__init__((_NAMES[0], port), _Handler)
        except (OSError, OverflowError) as error:
            said = error.strerror if isinstance(error, OSError) else "a port is a number from 0 to 65535"
            raise SerError(f"--serve {port}: {said}; name another port, or 0 for a free one") from None

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://{_NAMES[0]}:{self.server_port}{self.path}"

    def file(self, path: str) -> Path | None:
        """Return the file at a decoded path of an address, links followed; None if it is not there or not readable."""
        named = os.path.normpath(path)
        real = Path(os.path.realpath(named))
        if named in self._recordings or real == self.page or real.is_relative_to(self._exp):
            return real if real.is_file() else None
        return None


def _recordings(exp: Path) -> Iterator[str]:
    """Yield the recordings that the data directories of an experiment's runs name."""
    folders = set()
    for config in exp.glob(f"**/seed*/{CONFIG}"):
        with suppress(SerError, TypeError, AttributeError, ValueError):  # no run's, or a damaged one: status.py says so
            run = read_config(config)[1]
            named = (run["test_list"], run["dev"], *run["train"], *run["tests"].values())
            folders |= {os.path.join(run["work"], folder) for folder in named if folder}
    for folder in folders:
        for path, *_ in recordings_at_hand(Path(folder)).values():
            yield os.path.normpath(path)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD, whole files or one range of bytes of them (RFC 9110, section 14)."""

    server: ReportServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        if content := self._begin():
            content[0].close()

    def do_GET(self) -> None:
        if content := self._begin():
            file, length = content
            with file, suppress(ConnectionError):  # a player hangs up when it has heard enough
                while length > 0 and (data := file.read(min(length, _CHUNK))):
                    self.wfile.write(data)
                    length -= len(data)

    def _begin(self) -> tuple[BinaryIO, int] | None:
        """Send the head of an answer; return the file, at the first byte to send, and how many; None if refused."""
        if re.sub(r":\d*$", "", self.headers.get("Host", "")) not in _NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, f"this server answers to {' and '.join(_NAMES)} only")
            return None
        path = unquote(self.path.partition("?")[0])
        if path == "/":
            self._head(HTTPStatus.FOUND, 0, Location=self.server.path)
            return None
        try:
            file = self.server.file(path)
            content = file and open(file, "rb")  # noqa: SIM115 – the caller closes it
        except (OSError, ValueError):  # gone, not ours to read, or no path at all
            content = None
        if not content:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        size = os.fstat(content.fileno()).st_size
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        bounds = _bounds(self.headers.get("Range", ""), size)
        if bounds is None:
            self._head(HTTPStatus.OK, size, Content_Type=kind)
            return content, size
        start, end = bounds
        if start >= end:
            content.close()
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, Content_Range=f"bytes */{size}")
            return None
        self._head(HTTPStatus.PARTIAL_CONTENT, end - start, Content_Type=kind,
                   Content_Range=f"bytes {start}-{end - 1}/{size}")
        content.seek(start)
        return content, end - start

    def _head(self, status: HTTPStatus, length: int, **fields: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), "Accept-Ranges": "bytes", "Cache-Control": "no-cache",
                            "Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
                            **fields}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say what was refused; all else is as expected."""

    def log_error(self, format: str, *arguments: object) -> None:
        print(f"{getattr(self, 'path', '')}: {format % arguments}", file=sys.stderr, flush=True)


def _bounds(asked: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last of a Range header; None if all is to be sent.

    Several ranges, and what is none, are answered with the whole file, as the RFC allows.
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.strip())
    if not found or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size
