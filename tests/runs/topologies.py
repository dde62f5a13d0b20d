"""The ways to run: one process, workers forked by their master, and workers that are started by themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.runs.harness import FILES, Run, Simulator, Start, Started, free_port, read_csv

TOPOLOGIES = ("one process", "--processes 3", "master + 3 workers")


@dataclass
class Cluster:
    """The processes of a run that were started. counts: the file in which Locust's own count is."""

    main: Started
    workers: list[Started]
    counts: Path
    worker_options: tuple[str, ...] = ()

    def add_worker(self, start_locust: Start, **how: Any) -> None:
        """Start one more worker of a master."""
        self.workers.append(start_locust("--worker", *self.worker_options, **how))

    def end(self) -> Run:
        """Wait for all, and read what the run left. `output` is that of all processes."""
        run = self.main.end()
        outputs = [worker.end().output for worker in self.workers]
        return Run(run.exit_code, "\n".join([run.output, *outputs]), run.results)

    @property
    def counted_by_locust(self) -> int:
        """Requests; the rows of TTFT and of token rates stand beside them."""
        entries = json.loads(self.counts.with_suffix(".json").read_text())
        return sum(entry["num_requests"] for entry in entries if entry["method"] == "CHAT")


def start_cluster(
    topology: str, start_locust: Start, folder: Path, *arguments: str, within: tuple[str, ...] = (), **how: Any
) -> Cluster:
    """Start a headless run. within: a command that the first process is started by; how: see start_locust."""
    counts = folder / "locust"
    given = ("--headless", "--json-file", str(counts), *arguments)
    if topology == "one process":
        return Cluster(start_locust(*given, within=within, **how), [], counts)
    if topology == "--processes 3":
        return Cluster(start_locust("--processes", "3", *given, within=within, **how), [], counts)
    port = str(free_port())
    ports = ("--master-port", port, "--master-bind-port", port)
    (folder / "temporary").mkdir()
    main = start_locust("--master", "--expect-workers", "3", *given, *ports, within=within, **how)
    how["env"] = {**how.get("env", {}), "TMPDIR": str(folder / "temporary")}
    cluster = Cluster(main, [], counts, ports)
    for _ in range(3):
        cluster.add_worker(start_locust, **how)
    return cluster


def assert_all_accounted(run: Run, cluster: Cluster | None, simulator: Simulator) -> None:
    """The requests that the server saw are rows, in the histograms, in the windows and in Locust's own count, each
    once; of those that had not ended the run knows how many there were."""
    rows, books = run.requests, run.summary["accounting"]
    assert len({row["id"] for row in rows}) == len(rows)
    assert books["ended"] == books["recorded"] == books["rows"] == len(rows)
    ok, cut = (sum(row["outcome"] == outcome for row in rows) for outcome in ("ok", "cut"))
    served = read_csv(simulator.truth_log)
    # One that the server had sent whole may not have been read when its client was killed, or cut it; one that is cut
    # as it is sent may never have reached the server.
    assert ok <= sum(row["outcome"] == "ok" for row in served) <= ok + cut + books["unaccounted"]
    assert len(rows) - cut <= len(served) <= len(rows) + books["unaccounted"]
    histograms = read_csv(run.folder / "histograms.csv")
    for metric in ("ttft_s", "e2e_s"):
        counts = [int(row["count"]) for row in histograms if (row["metric"], row["scope"]) == (metric, "whole")]
        assert sum(counts) == ok
    tokens = sum(int(row["output_tokens"]) for row in rows)
    in_windows = sum(float(row["output_tokens"]) for row in run.windows)
    assert in_windows == pytest.approx(tokens, abs=0.01 * len(run.windows))
    if cluster is not None:
        assert cluster.counted_by_locust == len(rows)


def assert_complete(run: Run) -> None:
    """Every file is there and nothing else is, and no process ended with a traceback."""
    assert {path.name for path in run.folder.iterdir()} == FILES
    assert "Traceback" not in run.output, run.output
