"""A local server with the part of the Hugging Face Hub's HTTP interface that an upload uses.

Written after huggingface_hub 2.4's requests: repos/create, branch, validate-yaml,
preupload, Git LFS, commit.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Hub:
    """What the server holds. `files[branch]`: name -> content, of the only repository."""

    def __init__(self) -> None:
        self.url = ""
        self.repo: dict[str, Any] | None = None
        self.files: dict[str, dict[str, bytes]] = {"main": {}}
        self.messages: list[str] = []
        self.stored: dict[str, bytes] = {}  # by SHA-256, as Git LFS has it
        self.tokens: set[str | None] = set()
        self.failing: tuple[str, int] | None = None  # a part of a path, and the status it gets


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        do_PUT = do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, body: bytes) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            path = self.path.partition("?")[0]
            if hub.failing is not None and hub.failing[0] in path:
                self._send(hub.failing[1], {"error": "the stub says no"})
                return
            status, answer = _respond(hub, path, body)
            self._send(status, answer)

        def _send(self, status: int, answer: object) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _respond(hub: Hub, path: str, body: bytes) -> tuple[int, object]:
    for pattern, answer in _ANSWERS.items():
        if found := re.fullmatch(pattern, path):
            return answer(hub, body, *found.groups())
    return 404, {"error": f"the stub has no {path}"}


def _create(hub: Hub, body: bytes) -> tuple[int, object]:
    status = 200 if hub.repo is None else 409
    hub.repo = hub.repo or json.loads(body)
    return status, {"url": f"{hub.url}/me/model"}


def _branch(hub: Hub, body: bytes, name: str) -> tuple[int, object]:
    status = 409 if name in hub.files else 200
    hub.files.setdefault(name, dict(hub.files["main"]))
    return status, {}


def _check_card(hub: Hub, body: bytes) -> tuple[int, object]:
    assert json.loads(body)["content"].startswith("---\nlicense: apache-2.0\n")
    return 200, {"errors": [], "warnings": []}


def _modes(hub: Hub, body: bytes) -> tuple[int, object]:
    return 200, {"files": [_mode_of(each) for each in json.loads(body)["files"]]}


def _large_files(hub: Hub, body: bytes) -> tuple[int, object]:
    objects = [_lfs_action(hub, each) for each in json.loads(body)["objects"]]
    return 200, {"transfer": "basic", "objects": objects}


def _store(hub: Hub, body: bytes, sha256: str) -> tuple[int, object]:
    assert hashlib.sha256(body).hexdigest() == sha256
    hub.stored[sha256] = body
    return 200, {}


def _take_commit(hub: Hub, body: bytes, branch: str) -> tuple[int, object]:
    _commit(hub, branch, [json.loads(line) for line in body.splitlines()])
    return 200, {
        "success": True,
        "commitOid": "0" * 40,
        "commitUrl": f"{hub.url}/me/model/commit/0",
    }


_ANSWERS: dict[str, Callable[..., tuple[int, object]]] = {
    "/api/repos/create": _create,
    "/api/models/me/model/branch/(.+)": _branch,
    "/api/validate-yaml": _check_card,
    "/api/models/me/model/preupload/.+": _modes,
    "/me/model.git/info/lfs/objects/batch": _large_files,
    "/stored/(.+)": _store,
    "/api/models/me/model/commit/(.+)": _take_commit,
}


def _mode_of(file: dict[str, Any]) -> dict[str, Any]:
    is_large = file["path"].endswith((".safetensors", ".png"))
    return {
        "path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False,
    }  # fmt: skip


def _lfs_action(hub: Hub, wanted: dict[str, Any]) -> dict[str, Any]:
    """Where to send an object; without actions where it is there already."""
    actions = {"upload": {"href": f"{hub.url}/stored/{wanted['oid']}"}}
    return wanted if wanted["oid"] in hub.stored else {**wanted, "actions": actions}


def _commit(hub: Hub, branch: str, lines: list[dict[str, Any]]) -> None:
    for line in lines:
        value = line["value"]
        if line["key"] == "header":
            hub.messages.append(value["summary"])
        elif line["key"] == "file":
            hub.files[branch][value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            hub.files[branch][value["path"]] = hub.stored[value["oid"]]
