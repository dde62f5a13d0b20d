"""The recorder's options: how they are given, and the frozen record they make."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.failure_limit import FailureLimit
from metrics.objectives import DEFAULT_SHARE, Objectives
from options import collect_errors

_LINGER = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?", re.ASCII)
NO_SPOOL = "off"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


class RecordingOptionError(ValueError):
    """An option holds what it cannot; the text says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """Where results go and what a good request is. spools: whether ended requests are kept on disk until they are
    reported; spool_folder: where, None for the default place. metrics_port 0 serves none; metrics_linger_s: how long it
    is served still when a headless run is over; cluster "" is any; failure_limit: of failures, after which a run is
    stopped, None for none."""

    results: Path
    objectives: Objectives
    metrics_host: str
    metrics_port: int
    metrics_linger_s: float
    cluster: str
    spools: bool = True
    spool_folder: Path | None = None
    failure_limit: FailureLimit | None = None

    @classmethod
    def of(cls, options: Namespace) -> RecordingOptions:
        """Check and convert. Raises ObjectiveError, RecordingOptionError, OptionErrors."""
        with collect_errors() as errors:
            port = int(options.metrics_port)
            if not 0 <= port <= 65535:
                errors.add(
                    RecordingOptionError(f"--metrics-port takes a port from 1 to 65535, or 0 for none, got {port}.")
                )
            return cls(
                Path(options.results),
                errors.of(Objectives.parse, options.slo, options.slo_share),
                options.metrics_host,
                port,
                errors.of(_linger_s, options.metrics_linger),
                options.cluster,
                spools=options.spool_folder != NO_SPOOL,
                spool_folder=Path(options.spool_folder) if options.spool_folder not in ("", NO_SPOOL) else None,
                failure_limit=errors.of(FailureLimit.parse, options.stop_after_failures),
            )


def _linger_s(text: Any) -> float:
    """Raises RecordingOptionError."""
    linger = _LINGER.fullmatch(str(text).strip())
    if not linger:
        raise RecordingOptionError(f"--metrics-linger takes a time like 15s or 1m, got {text!r}.")
    return float(linger[1]) * _SECONDS[linger[2]]


def add_options(parser: ArgumentParser) -> None:
    """Give Locust's parser (and so its web form) these options."""
    option: Any = parser.add_argument  # Locust's own, which knows env_var and include_in_web_ui
    _add_run_options(option)
    _add_metrics_options(option)
    _add_cluster_options(option)


def _add_run_options(option: Any) -> None:
    option(
        "--results",
        default="results",
        env_var="TOKENSWARM_RESULTS",
        include_in_web_ui=False,
        help="folder in which each run makes a folder of its own",
    )
    option(
        "--spool-folder",
        default="",
        env_var="TOKENSWARM_SPOOL_FOLDER",
        include_in_web_ui=False,
        help="folder on this machine in which ended requests are kept until they are safe in the results, so that a "
        "killed process loses none; by default in the run's own folder, for a worker that was started by itself in the "
        "system's temporary folder; off for none",
    )
    option(
        "--slo",
        default="",
        env_var="TOKENSWARM_SLO",
        help="objectives of a request, like ttft=500ms tpot=50ms e2e=10s; goodput counts the requests that meet all",
    )
    option(
        "--slo-share",
        default=f"{DEFAULT_SHARE:.0%}",
        env_var="TOKENSWARM_SLO_SHARE",
        help="share of a level's requests that must be within all objectives for the level to meet them",
    )
    option(
        "--stop-after-failures",
        default="100%:50",
        env_var="TOKENSWARM_STOP_AFTER_FAILURES",
        help="stop the run when at least this share of this number of last requests failed, SHARE:NUMBER; off: never",
    )


def _add_metrics_options(option: Any) -> None:
    option(
        "--metrics-host",
        default="127.0.0.1",
        env_var="TOKENSWARM_METRICS_HOST",
        include_in_web_ui=False,
        help="address that Prometheus scrapes",
    )
    option(
        "--metrics-port",
        type=int,
        default=9646,
        env_var="TOKENSWARM_METRICS_PORT",
        include_in_web_ui=False,
        help="port that Prometheus scrapes, 0 for none",
    )
    option(
        "--metrics-linger",
        default="0s",
        env_var="TOKENSWARM_METRICS_LINGER",
        include_in_web_ui=False,
        help="how long a headless run that is over can still be scraped, so that Prometheus gets its last figures; "
        "more than the scrape interval, and Ctrl-C ends it",
    )


def _add_cluster_options(option: Any) -> None:
    option(
        "--cluster",
        default="",
        env_var="TOKENSWARM_CLUSTER",
        include_in_web_ui=False,
        help="name that a master and its workers share; a worker of another name is rejected",
    )
    option(
        "--cluster-key-file",
        default="",
        env_var="TOKENSWARM_CLUSTER_KEY_FILE",
        include_in_web_ui=False,
        help="file with a secret that a master and its workers share: only messages made with it are acted on; the "
        "secret itself may be in TOKENSWARM_CLUSTER_KEY instead; empty: none",
    )
