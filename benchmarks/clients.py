"""The clients: how each is started, and where it says what it saw."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.certificate import AUTHORITY
from benchmarks.client_log import read_client_log, read_tokenswarm, reads_of_tokenswarm
from benchmarks.floor import reads_of_floor
from benchmarks.plain_record import LOG_VARIABLE
from benchmarks.records import ANSWER_TOKENS_MAX, Load, Seen

_LOCUST = (sys.executable, "-m", "locust")
_STOP_TIMEOUT_S = 20

Command = Callable[[Load, str, Path], list[str]]
Read = Callable[[Path], list[Seen]]


@dataclass(frozen=True, slots=True)
class Client:
    """`command` makes the command line from load, server's address and the folder to write to; `read` reads what the
    client left there, None for a client that keeps no record; `reads` how often it read, None where it does not count.
    tls: whether its server speaks TLS, with the authority of benchmarks/certificate.py. counted: whether it is given a
    number of requests, rather than a time."""

    name: str
    command: Command
    read: Read | None = None
    reads: Callable[[Path], int] | None = None
    tls: bool = False
    counted: bool = False

    def variables(self, folder: Path) -> dict[str, str]:
        return {LOG_VARIABLE: str(folder / "client.csv")}


def tokenswarm(name: str, *options: str, tls: bool = False) -> Client:
    """The project's own client, as a user starts it."""

    def command(load: Load, host: str, folder: Path) -> list[str]:
        return [
            *_locust("locustfile.py", load, host),
            *("--engine", "vllm", "--model", "truth", "--max-tokens", str(ANSWER_TOKENS_MAX)),
            *("--settle", "0s", "--metrics-port", "0", "--server-metrics", "off", "--preflight", "off"),
            *("--results", str(folder), *options),
            *(("--tls-ca", str(folder.parent / AUTHORITY)) if tls else ()),
        ]

    return Client(name, command, read_tokenswarm, reads_of_tokenswarm, tls)


def plain(name: str, locustfile: str) -> Client:
    """A Locust user that keeps a record of its own."""

    def command(load: Load, host: str, _folder: Path) -> list[str]:
        return [*_locust(locustfile, load, host), "--only-summary", "--stop-timeout", str(_STOP_TIMEOUT_S)]

    return Client(name, command, read_client_log)


def _locust(locustfile: str, load: Load, host: str) -> list[str]:
    users = ("-u", str(load.users), "-r", f"{load.users_per_s:g}", "-t", f"{load.sending_s}s")
    return [*_LOCUST, "-f", locustfile, "--headless", "-H", host, *users]


def _floor(load: Load, host: str, _folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "benchmarks.floor", "--host", host, "--users", str(load.users)),
        *("--users-per-s", f"{load.users_per_s:g}", "--seconds", str(load.sending_s)),
    ]


#: In the table's order.
CLIENTS = (
    tokenswarm("tokenswarm", "--token-times", "all"),
    tokenswarm("tokenswarm, kernel", "--token-times", "all", "--stamps", "kernel"),
    tokenswarm("tokenswarm, sampled", "--token-times", "sampled"),
    tokenswarm("tokenswarm, TLS", "--token-times", "all", tls=True),
    plain("HttpUser + sseclient", "benchmarks/plain_locustfile.py"),
    plain("FastHttpUser", "benchmarks/fast_locustfile.py"),
    Client("floor", _floor, reads=reads_of_floor),
)
