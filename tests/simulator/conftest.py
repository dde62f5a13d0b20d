"""A simulator as a process, and a client that shows the bytes it sent."""

import csv
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.forked_process import start_program

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20.0


class Client:
    """One connection, read as raw HTTP/1.1."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def request(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def generation(self, body: dict[str, Any] | bytes, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.request("POST", "/v1/chat/completions", data, **headers)

    def head(self) -> tuple[int, dict[str, str]]:
        lines = self._until(b"\r\n\r\n").decode().split("\r\n")
        return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:])

    def page(self) -> tuple[int, bytes]:
        status, headers = self.head()
        return status, self._exactly(int(headers["content-length"]))

    def chunk(self) -> bytes:
        """The next chunk's data; empty is the last."""
        size = int(self._until(b"\r\n"), 16)
        return self._exactly(size + 2)[:size]

    def chunks(self) -> list[bytes]:
        """All chunks up to the last."""
        return list(iter(self.chunk, b""))

    def ends(self) -> bool:
        """Whether the server closes the connection with nothing more to say."""
        try:
            return not self._buffer and self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def silent_for(self, seconds: float) -> bool:
        """Whether the server neither says anything nor closes in that time."""
        self._socket.settimeout(seconds)
        try:
            self._buffer += self._socket.recv(1)
            return False
        except TimeoutError:
            return not self._buffer
        finally:
            self._socket.settimeout(PATIENCE_S)

    def rest(self) -> bytes:
        """Everything until the server closes."""
        while data := self._socket.recv(65_536):
            self._buffer += data
        return self._buffer

    def close(self) -> None:
        self._socket.close()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._fill()
        data, _, self._buffer = self._buffer.partition(mark)
        return data

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _fill(self) -> None:
        data = self._socket.recv(65_536)
        if not data:
            raise EOFError(f"the server closed after {self._buffer!r}")
        self._buffer += data


class Simulator:
    """A running simulator process and its truth log."""

    def __init__(self, truth_path: Path, options: tuple[str, ...], env: dict[str, str] | None = None) -> None:
        self._truth_path = truth_path
        options = ("--port", "0", "--truth-log", str(truth_path), *options)
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = start_program("simulate", options, env, cwd=ROOT, **pipes)
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        assert self.greeting, self.process.communicate()[1]
        self.port = int(self.greeting.split("http://127.0.0.1:")[1].split()[0])
        self._clients: list[Client] = []

    def client(self) -> Client:
        client = Client(self.port)
        self._clients.append(client)
        return client

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        client = self.client()
        client.request("GET", path, b"", **headers)
        return client.page()

    def metric(self, name: str) -> float:
        """The sum of a metric's samples on /metrics."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))

    def wait_for_metric(self, name: str, value: float) -> None:
        self._wait(lambda: self.metric(name) == value, f"{name} never became {value}")

    def rows(self, count: int) -> list[dict[str, str]]:
        """The truth log once it has that many rows: a row is written just after the client can see the end."""
        self._wait(lambda: len(self._read_rows()) >= count, f"fewer than {count} truth rows")
        rows = self._read_rows()
        assert len(rows) == count
        return rows

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None

    def stop(self) -> int:
        """End it as `kill` does; its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def clean(self) -> None:
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def _read_rows(self) -> list[dict[str, str]]:
        with self._truth_path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _wait(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, complaint
            time.sleep(0.005)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Simulator]]:
    """Starts a fast simulator with the given options; it is gone when the test is."""
    started: list[Simulator] = []

    def start_one(*options: str, env: dict[str, str] | None = None) -> Simulator:
        simulator = Simulator(tmp_path / f"truth{len(started)}.csv", ("--profile", "fast", *options), env)
        started.append(simulator)
        return simulator

    yield start_one
    for simulator in started:
        simulator.clean()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One fast simulator without faults, shared by a module's tests."""
    simulator = Simulator(
        tmp_path_factory.mktemp("plain") / "truth.csv", ("--profile", "fast", "--max-model-len", "2048")
    )
    yield simulator
    simulator.clean()


@pytest.fixture
def chat() -> Callable[..., dict[str, Any]]:
    """A request body: eight tokens, streamed, with usage; overridden by the given fields."""

    def body(**fields: Any) -> dict[str, Any]:
        return {
            "model": "any",
            "messages": [{"role": "user", "content": "Tell me about the licence of this software, please."}],
            "stream": True,
            "max_tokens": 8,
            "ignore_eos": True,
            "stream_options": {"include_usage": True},
        } | fields

    return body
