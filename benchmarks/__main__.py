"""`make bench`: every client under every load, against one paced server; a table, bench.json and bench.png."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from benchmarks import bursts
from benchmarks.certificate import CERTIFICATE, make_certificate
from benchmarks.chart import draw
from benchmarks.clients import CLIENTS, Client
from benchmarks.figures import BurstRow, ClientRow, row, share_of_a_core
from benchmarks.floor import OUTPUT
from benchmarks.launch import LaunchError, busy_s, run_client, truth_server
from benchmarks.machine import machine, segments_sent_again
from benchmarks.parsing import compare
from benchmarks.part import parse_numbers, part_document
from benchmarks.peers import PEERS, PeerError, peers
from benchmarks.records import ANSWER_TOKENS_MAX, ANSWER_TOKENS_MIN, TOKENS_PER_S, TTFT_MS, Load, Run
from benchmarks.table import bursts_table, parsing_table, table
from tokenswarm.simulator.paced_log import read_server_log

RESULTS = Path(__file__).resolve().parent / "results"
FORMAT = 1
Read = TypeVar("Read")
#: How long the hold of the two runs is. A few users bring few tokens, and need a longer difference.
HOLDS_S = {100: (3, 15)}
OTHER_HOLDS_S = (3, 10)
USERS_PER_S_AT_MOST = 200
#: A client is left out where its cost with fewer users would come to more than this share of its core. Above 1, because
#: a busy client finds several tokens in a read, and takes them for less.
MOST_OF_A_CORE = 1.2
#: Starting, the last answers, and charts, on a machine that has other things to do as well.
BEYOND_LOAD_S = 60.0
_OURS = "tokenswarm"


@dataclass(frozen=True, slots=True)
class BenchRunner:
    """Where the two sides run, and where what they write goes."""

    client_core: int
    server_core: int
    folder: Path

    def run(self, client: Client, load: Load) -> Run:
        """One client under one load, a fresh server for it. Raises LaunchError."""
        folder = self.folder / f"{client.name.replace(', ', '-').replace(' ', '-')}-{load.users}-{load.hold_s}s"
        folder.mkdir(parents=True)
        cores = (self.client_core, self.server_core)
        before_s, began_s, sent_again = busy_s(cores), time.monotonic(), segments_sent_again()
        certificate = self.folder / CERTIFICATE if client.tls else None
        with truth_server(self.server_core, folder / "server.csv", certificate) as server:
            command = client.command(load, server.url, folder)
            limit_s = load.sending_s + BEYOND_LOAD_S
            cost, memory = run_client(command, self.client_core, limit_s, folder / OUTPUT, client.variables(folder))
        after_s, seconds = busy_s(cores), time.monotonic() - began_s
        other_s = None if before_s is None or after_s is None else after_s - before_s - cost.cpu_s - server.cost.cpu_s
        more_sent_again = segments_sent_again()
        return Run(
            load=load,
            cost=cost,
            served=read_server_log(server.log),
            seen=_record(client.read, folder),
            reads=_record(client.reads, folder),
            memory=memory,
            counted=client.counted,
            other_load=None if other_s is None else max(0.0, other_s / seconds),
            sent_again=None if sent_again is None or more_sent_again is None else more_sent_again - sent_again,
        )


def _record(read: Callable[[Path], Read] | None, folder: Path) -> Read | None:
    """What the client says; None where it does not say it, or did not come to."""
    try:
        return read(folder) if read else None
    except FileNotFoundError:
        return None


def load_for(users: int, hold_s: int) -> Load:
    """All users within two seconds, or longer where these would be too many at once."""
    return Load(users, ramp_s=max(2, -(-users // USERS_PER_S_AT_MOST)), hold_s=hold_s)


def left_out(earlier: Sequence[ClientRow], client: str, users: int) -> str:
    """Why a client is not run with that many users, as its rows with fewer say; "" where it is."""
    for known in reversed(earlier):
        if known.client != client or known.users >= users or known.peak_mb is None:
            continue
        if known.us_per_token is None:
            return "left out: with fewer users it did not even do its work"
        share = share_of_a_core(known.us_per_token, users * TOKENS_PER_S)
        if share > MOST_OF_A_CORE:
            return (
                f"left out: {known.us_per_token:.0f} µs/token (at {known.users} users) times {users * TOKENS_PER_S:,} "
                f"tokens/s would take {share * 100:.0f} % of its core"
            )
        return ""
    return ""


def measure(
    bench: BenchRunner, clients: Sequence[Client], levels: Sequence[int], holds: tuple[int, int] | None
) -> list[ClientRow]:
    """The rows of the table; each client's name is printed when it starts."""
    rows: list[ClientRow] = []
    for users in sorted(levels):
        for client in clients:
            note = left_out(rows, client.name, users)
            if note:
                rows.append(ClientRow(client.name, users, note))
            else:
                print(f"{users} users: {client.name} …", flush=True)
                short_s, long_s = holds or HOLDS_S.get(users, OTHER_HOLDS_S)
                short, long = (bench.run(client, load_for(users, hold_s)) for hold_s in (short_s, long_s))
                rows.append(row(client.name, short, long))
    return rows


def main() -> int:
    """0, or 2 with one sentence where it cannot be done with these options."""
    args = _arguments()
    if sys.platform != "linux":
        print("bench: processes can be pinned to cores on Linux only; run it there.", file=sys.stderr)
        return 2
    try:
        cores = sorted(os.sched_getaffinity(0))
        known = [*CLIENTS, *peers(dict(args.peer))]
        clients = [client for client in known if args.client in ("", client.name)]
        if not clients:
            raise LaunchError(
                f"--client takes one of {', '.join(repr(client.name) for client in known)}, got {args.client!r}"
            )
        if len(cores) < 2:
            raise LaunchError("two cores are needed, one for the server and one for the client; this process has one")
        return _bench(args, clients, cores)
    except (LaunchError, PeerError, OSError) as error:
        problem = str(error)
    except KeyboardInterrupt:
        problem = "interrupted; what was measured so far is not kept"
    print(f"bench: {problem}.", file=sys.stderr)
    return 2


def _bench(args: argparse.Namespace, clients: Sequence[Client], cores: Sequence[int]) -> int:
    before, when = machine(), datetime.now(UTC)
    shutil.rmtree(RESULTS / "runs", ignore_errors=True)
    if any(client.tls for client in clients):
        make_certificate(RESULTS / "runs")
    bench = BenchRunner(client_core=cores[0], server_core=cores[-1], folder=RESULTS / "runs")
    rows = measure(bench, clients, args.users, args.hold)
    burst_rows = _bursts(args, bench)
    comparisons = compare()
    said = f"{when:%Y-%m-%d %H:%M} UTC, {before['processor']}, {before['cores']} cores, Python {before['python']}"
    document = {
        "format": FORMAT,
        "started_at": when.isoformat(timespec="seconds"),
        "machine": before,
        "server": {
            "answer_tokens_min": ANSWER_TOKENS_MIN,
            "answer_tokens_max": ANSWER_TOKENS_MAX,
            "tokens_per_s": TOKENS_PER_S,
            "ttft_ms": TTFT_MS,
        },
        "rows": [asdict(one) for one in rows],
        "parsing": [asdict(one) | {"ratio": one.ratio} for one in comparisons],
    }
    if burst_rows:
        document["bursts"] = part_document(burst_rows, before, when)
    (RESULTS / "bench.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draw(rows, RESULTS / "bench.png", said)
    of_bursts = [bursts_table(burst_rows)] if burst_rows else []
    tables = "\n\n".join((table(rows), *of_bursts, parsing_table(comparisons)))
    print(f"\n{said}\n\n{tables}\n\nIn {RESULTS}: bench.json, bench.png, runs/")
    return 0


def _bursts(args: argparse.Namespace, bench: BenchRunner) -> list[BurstRow]:
    """Of Tokenswarm, unless another client is to run alone, or runs are to be short."""
    if args.client not in ("", _OURS) or args.hold:
        return []
    return bursts.measure(bursts.REQUESTS, bursts.SECONDS, (bench.client_core, bench.server_core), bench.folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--users", type=parse_numbers, default=(100, 500, 1000), help="like 100,500 (default: 100,500,1000)"
    )
    parser.add_argument("--client", default="", metavar="NAME", help="this client alone, named as in the table")
    parser.add_argument(
        "--hold", type=parse_numbers, default=None, metavar="S,S", help="seconds of the short and the long run's hold"
    )
    parser.add_argument(
        "--peer",
        type=_named_path,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=f"run this client too: {', '.join(PEERS)}; found by itself where it is installed",
    )
    args = parser.parse_args()
    if args.hold and (len(args.hold) != 2 or args.hold[0] >= args.hold[1]):
        parser.error("--hold takes two numbers of seconds, the shorter first, like 4,20")
    return args


def _named_path(text: str) -> tuple[str, str]:
    """Raises ValueError, which argparse turns into a message."""
    name, separator, path = text.partition("=")
    if not separator:
        raise ValueError(text)
    return name, path


if __name__ == "__main__":
    sys.exit(main())
