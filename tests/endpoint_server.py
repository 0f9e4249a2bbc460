"""A process that serves a repository as Inference Endpoints do: `python endpoint_server.py REPO FOLDER [--refuse PACKAGE]`.

The contract (Hugging Face's guide "Create custom inference handler"): the repository is downloaded to a folder,
`EndpointHandler` of its handler.py is made with that folder's path, and every request's JSON object goes to it; the
answer is what it returns, as JSON. What a failing handler answers is ours: 400 with its message for wrong input.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from runpy import run_path


class Refused:
    """Keeps a package from being imported, as where it is not installed."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"{name} is not installed here")


def load_handler(folder):
    """The repository's handler."""
    return run_path(str(Path(folder) / "handler.py"))["EndpointHandler"](str(folder))


def server_of(handler):
    """An HTTP server that gives requests to the handler."""

    class Requests(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                status, answer = 200, handler(json.loads(body))
            except ValueError as error:
                status, answer = 400, {"error": str(error)}
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    return HTTPServer(("127.0.0.1", 0), Requests)


if __name__ == "__main__":
    repo, target, *rest = sys.argv[1:]
    if rest[:1] == ["--refuse"]:
        sys.meta_path.insert(0, Refused(rest[1]))
    from huggingface_hub import snapshot_download

    server = server_of(load_handler(snapshot_download(repo, local_dir=target)))
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
