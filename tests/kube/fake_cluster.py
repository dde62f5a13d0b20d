"""A Kubernetes API server on the loopback, as far as `tokenswarm kube` speaks to one. What it was sent is kept."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.serving import serving

TOKEN = "token-of-the-test-user"
_KINDS = {"secrets": "Secret", "services": "Service", "networkpolicies": "NetworkPolicy", "jobs": "Job"}


class FakeCluster:
    """objects: by (kind, name), as they were sent. states: what the pods are, one list after the other with each look;
    the last one stays. files: those of the master's /results; latest: where its
    link to the newest run leads. cut_bytes: how much of their archive is not sent."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.states: list[list[dict[str, Any]]] = [[]]
        self.log = ""
        self.files: dict[str, bytes] = {}
        self.latest = ""
        self.cut_bytes = 0
        self.forbidden = ""
        self.executed: list[list[str]] = []
        self.deleted: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.url = ""

    def pods(self) -> list[dict[str, Any]]:
        """Those of now."""
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def archive(self) -> bytes:
        """What `tar` in the master's pod writes."""
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as archive:
            for name, data in self.files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            if self.latest:
                link = tarfile.TarInfo("latest")
                link.type, link.linkname = tarfile.SYMTYPE, self.latest
                archive.addfile(link)
        return target.getvalue()[: -self.cut_bytes or None]

    def kubeconfig(self, path: Path) -> Path:
        """Write one whose only context is this cluster."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "load"}}],
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path


class _ClusterHandler(BaseHTTPRequestHandler):
    server: _ClusterServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._refused():
            self.server.cluster.objects[sent["kind"], sent["metadata"]["name"]] = sent
            self._answer(201, sent)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._refused():
            *_, plural, name = self._path.split("/")
            self.server.cluster.deleted.append((_KINDS[plural], name))
            self.server.cluster.objects.pop((_KINDS[plural], name))
            self._answer(200, {"kind": "Status", "status": "Success"})

    def do_GET(self) -> None:
        if self._refused():
            return
        last = self._path.split("/")[-1]
        if last == "pods":
            self._answer(200, {"items": self.server.cluster.pods()})
        elif last == "log":
            self._send(200, self.server.cluster.log.encode(), "text/plain")
        elif last == "exec":
            self._execute()
        else:
            name, value = self._query["labelSelector"][0].split(",")[1].split("=")
            found = [
                each
                for (kind, _), each in self.server.cluster.objects.items()
                if kind == _KINDS[last] and each["metadata"]["labels"][name] == value
            ]
            self._answer(200, {"items": found})

    def _execute(self) -> None:
        cluster, command = self.server.cluster, self._query["command"]
        cluster.executed.append(command)
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()
        data = cluster.archive() if command[0] == "tar" else b""
        for place in range(0, len(data), 3000):
            self._frame(1, data[place : place + 3000])
        self._frame(3, json.dumps({"status": "Success"}).encode())
        self.wfile.write(b"\x88\x00")
        self.close_connection = True

    def _frame(self, channel: int, data: bytes) -> None:
        payload = bytes([channel]) + data
        size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
        self.wfile.write(b"\x82" + size + payload)

    @property
    def _path(self) -> str:
        return urlsplit(self.path).path

    @property
    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)

    def _refused(self) -> bool:
        self.server.cluster.tokens.add(self.headers.get("Authorization", ""))
        forbidden = self.server.cluster.forbidden
        if forbidden and self.command == "POST" and forbidden in self._path:
            message = f'{forbidden} is forbidden: User "test" cannot create resource "{forbidden}"'
            self._answer(403, {"kind": "Status", "message": message, "reason": "Forbidden", "code": 403})
            return True
        return False

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _ClusterServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, cluster: FakeCluster) -> None:
        super().__init__(("127.0.0.1", 0), _ClusterHandler)
        self.cluster = cluster


@contextmanager
def fake_cluster() -> Iterator[FakeCluster]:
    cluster = FakeCluster()
    with serving(_ClusterServer(cluster)) as cluster.url:
        yield cluster


def pod(index: int, phase: str = "Running", *, state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """A pod as the API server shows it. state: of its container; status: further fields of its status."""
    ready = status.pop("ready", False)
    labels = {"batch.kubernetes.io/job-completion-index": str(index)}
    container = {"state": {"running": {}} if state is None else state, "ready": ready}
    return {
        "metadata": {"name": f"run-1-{index}-x7k2p", "labels": labels},
        "spec": {"containers": [{"image": "registry/tokenswarm:1"}]},
        "status": {"phase": phase, "containerStatuses": [container], **status},
    }
