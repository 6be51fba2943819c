"""A hub played by this machine: the calls that huggingface_hub makes, and the ways in which networks fail."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

COMMIT = "f" * 40


@dataclass
class Repository:
    """The files of one repository, and what goes wrong with the large ones."""

    files: dict[str, bytes]
    status: int = 200  # of every answer
    cut: int = 0  # so many answers with a file's bytes end half way
    wrong_hash: bool = False  # the hub says another hash than the file has
    slow: float = 0  # seconds before each half of a file


@dataclass
class Hub:
    """What there is, and what was asked for."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def bytes_asked(self, name: str) -> int:
        """How often the bytes of files with this name were asked for."""
        return sum(line.startswith("GET ") and line.endswith(f"/{name}") for line in self.asked)


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        parts = self.path.split("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repository = self.hub.repositories.get("/".join(parts[2:4] if api else parts[:2]), Repository({}, status=404))
        if repository.status != 200:
            code = {401: "RepoNotFound", 403: "GatedRepo", 404: "RepoNotFound"}[repository.status]
            return self.answer(b"{}", repository.status, {"X-Error-Code": code})
        if api:
            said = self.tree(repository) if "tree" in parts else self.description(repository)
            return self.answer(json.dumps(said).encode(), 200, {"Content-Type": "application/json"})
        body = repository.files.get("/".join(parts[4:]))
        if body is None:
            return self.answer(b"", 404, {"X-Error-Code": "EntryNotFound"})
        return self.send_file(repository, body)

    do_HEAD = do_GET

    def description(self, repository: Repository) -> dict:
        """What the hub says of a repository: large files by their hash."""
        siblings = []
        for name, body in repository.files.items():
            sha256 = "0" * 64 if repository.wrong_hash else hashlib.sha256(body).hexdigest()
            lfs = {"lfs": {"sha256": sha256, "size": len(body), "pointerSize": 130}} if len(body) > 1000 else {}
            siblings.append({"rfilename": name, "size": len(body)} | lfs)
        return {"id": "x", "sha": COMMIT, "siblings": siblings}

    def tree(self, repository: Repository) -> list[dict]:
        return [{"type": "file", "path": name, "size": len(body), "oid": "0" * 40} for name, body in repository.files.items()]

    def send_file(self, repository: Repository, body: bytes) -> None:
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(body).hexdigest()}"', "Accept-Ranges": "bytes"}
        start, status = 0, 200
        if wanted := self.headers.get("Range"):
            start, status = int(wanted.removeprefix("bytes=").partition("-")[0]), 206
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        cut = self.command == "GET" and len(body) > 1000 and repository.cut > 0
        if cut:
            repository.cut -= 1
        self.answer(body[start:], status, headers, repository.slow, cut)

    def answer(self, body: bytes, status: int, headers: dict[str, str], slow: float = 0, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers | {"Connection": "close"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        half = len(body) // 2
        for piece in (body[:half],) if cut else (body[:half], body[half:]):
            time.sleep(slow)
            self.wfile.write(piece)

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub("")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Handler,), {"hub": hub})) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()


def start(code: str, address: str, home: Path, **env: str) -> subprocess.Popen:
    """Python code in a process of its own, for huggingface_hub reads its environment when it is imported."""
    env = {"HF_ENDPOINT": address, "HF_HOME": str(home / "hf"), "VITJAX_CACHE": str(home / "vitjax")} | env
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "5", "HF_TOKEN": ""}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | env, stdout=pipe, stderr=pipe, text=True)


def run(code: str, address: str, home: Path, **env: str) -> tuple[str, str]:
    """(stdout, stderr) of Python code that ends well."""
    process = start(code, address, home, **env)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err
