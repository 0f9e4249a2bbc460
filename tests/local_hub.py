"""A Hugging Face Hub in this process, for tests: the real client talks to it by HTTP.

It keeps models, datasets and spaces in memory and knows what a push and a download need: commits with parents, large
file storage behind a redirect, tags, branches, pull requests, private and gated repositories, tokens. It does not
know Xet, .gitignore, multipart uploads, discussions, paging and rate limits.

    with LocalHub(folder) as hub:
        HfApi(hub.endpoint, hub.token).create_repo("user/model")
"""

import contextlib
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

# The two below register what they answer.
from tests import local_hub_downloads, local_hub_uploads  # noqa: F401
from tests.local_hub_api import Answer, HubState, Request, User, answer, error_answer
from tests.local_hub_store import Commit, HubError, Repository

HOUSEKEEPING = (
    "/api/agent-harnesses",
    "/api/telemetry",
)  # not counted: they are about the client, not a repository
REMOVED_VARIABLES = ("HF_", "HUGGING", "TRANSFORMERS_", "DATASETS_")


@dataclass
class Fault:
    """What happens to the next requests that match, instead of the answer or to it."""

    method: str
    path_part: str
    times: int
    status: int | None = None  # None drops the connection
    answered: bool = False  # the request was carried out and half of the answer sent

    def matches(self, request: Request) -> bool:
        return self.times > 0 and request.method == self.method and self.path_part in request.path


class LocalHub:
    """A running Hub; `with` starts and ends it.

    Attributes:
        endpoint: Its address, for `HF_ENDPOINT`.
        token: Of the user "user", who may write to "user/..." and, as a member, to "org/...".
        read_token: Of the same user, without the right to write.
        other_token: Of the user "other".
        requests: Method and path (without query) of each request so far, in order.
        home: Folder that `environment` gives to other processes as HF_HOME.
    """

    token = "hf_write"
    read_token = "hf_read"
    other_token = "hf_other"

    def __init__(self, home: Path) -> None:
        self.home = home
        self.requests: list[tuple[str, str]] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        users = {
            self.token: User("user", ("org",)),
            self.read_token: User("user", ("org",), may_write=False),
            self.other_token: User("other"),
        }
        self._state = HubState(self.endpoint, f"http://localhost:{port}", users)

    def __enter__(self) -> "LocalHub":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes the Hub off the network; nothing answers at its address any more."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            end_connection(connection)

    def repository(self, repo_id: str, repo_type: str = "model") -> Repository:
        return self._state.repositories[f"{repo_type}s", repo_id]

    def commits(self, repo_id: str, repo_type: str = "model", revision: str = "main") -> list[Commit]:
        """The commits of a branch, tag or pull request, newest first; the last is the Hub's own "initial commit".

        Each has `oid`, `title`, `message`, `author`, `date`, `files` (paths) and `contents` (path -> file).
        """
        return list(self.repository(repo_id, repo_type).history(revision))

    def files(self, repo_id: str, revision: str = "main", repo_type: str = "model") -> dict[str, bytes]:
        """Path -> content at a revision."""
        commit = self.repository(repo_id, repo_type).commit_of(revision)
        return {path: file.content for path, file in commit.contents.items()}

    def count(self, method: str | None = None, path_part: str = "") -> int:
        """How many requests so far, of one method, with a text in the path."""
        return sum(method in (None, name) and path_part in path for name, path in self.requests)

    def reset(self) -> None:
        """Forgets the requests so far, and faults that did not happen yet."""
        self.requests.clear()
        self._faults.clear()

    def fail_next(self, method: str, path_part: str, status: int, times: int = 1) -> None:
        """Answers the next requests with an error and does nothing else.

        The client repeats most requests up to 5 times after 408, 429, 500, 502, 503 and 504; not so `POST .../commit`,
        nor after 403 or 507.
        """
        self._faults.append(Fault(method, path_part, times, status))

    def drop_next(self, method: str, path_part: str, times: int = 1, *, answered: bool = False) -> None:
        """Closes the connection without an answer and does nothing else.

        With `answered`, the request is carried out and half of the body of the answer sent. The client repeats most
        requests up to 5 times after this, but not `POST .../commit`.
        """
        self._faults.append(Fault(method, path_part, times, answered=answered))

    def environment(self, home: Path | None = None) -> dict[str, str]:
        """The environment of this process, changed so that a process started with it uses this Hub and no other.

        Args:
            home: Folder of its caches; by default that of this Hub.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(REMOVED_VARIABLES) and not name.lower().endswith("_proxy")
        }
        return kept | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home or self.home),
            "HF_TOKEN": self.token,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "NO_PROXY": "*",
        }

    def _handle(self, request: Request) -> tuple[Answer | None, bool]:
        """The answer (None: drop the connection), and whether all of it is to be sent."""
        with self._lock:
            if not request.path.startswith(HOUSEKEEPING):
                self.requests.append((request.method, request.path))
            fault = next((fault for fault in self._faults if fault.matches(request)), None)
            if fault is None:
                return answer(self._state, request), True
            fault.times -= 1
            if fault.status:
                return error_answer(HubError(fault.status, f"Injected error {fault.status}")), True
            return (answer(self._state, request), False) if fault.answered else (None, False)


def end_connection(connection: socket.socket) -> None:
    """Ends a connection at once, although another thread reads from it."""
    with contextlib.suppress(OSError):  # it may have ended already
        connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    """Reads requests and writes answers; `_handler_of` gives it its Hub."""

    hub: LocalHub
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.hub._connections.add(self.connection)

    def finish(self) -> None:
        self.hub._connections.discard(self.connection)
        with contextlib.suppress(OSError):  # the client may have gone
            super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        split = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = parse_qs(split.query)
        body = self.read_body(headers)
        answer, whole = self.hub._handle(Request(self.command, split.path, query, headers, body))
        if answer is None:
            self.close_connection = True
        else:
            self.send(answer, whole)

    def read_body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, answer: Answer, whole: bool) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body if whole else answer.body[: len(answer.body) // 2])
        if not whole:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any


def _handler_of(hub: LocalHub) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"hub": hub})
