"""The recorder's options: how they are given, and the frozen record they make."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tokenswarm.command_line import OptionAdder, collect_errors, not_one_of, parse_timespan
from tokenswarm.metrics.hardware import Hardware, parse_hardware
from tokenswarm.metrics.objectives import DEFAULT_SHARE, Objectives, parse_share
from tokenswarm.recording.failure_limit import FailureLimit
from tokenswarm.recording.kept_requests import RECORDS_FOLDER, RecordMode, RecordPlan
from tokenswarm.run_folder.remote_folder import check_url, is_url
from tokenswarm.run_folder.run_labels import parse_name, parse_tags

NO_SPOOL = "off"


class RecordingOptionError(ValueError):
    """An option holds what it cannot; the text says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """Where results go and what a good request is. spools: whether ended requests are kept on disk until they are
    reported; spool_folder: where, None for the default place. metrics_port 0 serves none; metrics_linger_s: how long
    it is served still when a headless run is over; record: what is kept of requests; cluster "" is any;
    failure_limit: of failures, after which a run is stopped, None for none. hardware: the server's GPUs as stated.
    name, tags: what a person calls the run.
    upload_to: the URL to which each run's folder is copied when it is complete, None where it is not."""

    results: Path
    objectives: Objectives
    metrics_host: str
    metrics_port: int
    metrics_linger_s: float
    cluster: str
    spools: bool = True
    spool_folder: Path | None = None
    failure_limit: FailureLimit | None = None
    record: RecordMode = RecordMode.OFF
    hardware: Hardware | None = None
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    upload_to: str | None = None

    def record_plan(self, run_folder: Path) -> RecordPlan:
        """What the run in that folder keeps of requests, and where."""
        if self.record is RecordMode.OFF:
            return RecordPlan()
        return RecordPlan(self.record, str((run_folder / RECORDS_FOLDER).absolute()))

    @classmethod
    def of(cls, options: Namespace) -> RecordingOptions:
        """Check and convert. Raises ObjectiveError, HardwareError, RecordingOptionError, TimespanError, LabelError,
        OptionErrors."""
        with collect_errors() as errors:
            upload_to = options.results if is_url(options.results) else None
            if upload_to:
                errors.of(check_url, "--results", upload_to)
            port = int(options.metrics_port)
            if not 0 <= port <= 65535:
                errors.add(
                    RecordingOptionError(f"--metrics-port takes a port from 1 to 65535, or 0 for none, got {port}.")
                )
            return cls(
                results_folder(options),
                errors.of(_objectives_of, options),
                options.metrics_host,
                port,
                errors.of(parse_timespan, "--metrics-linger", options.metrics_linger),
                options.cluster,
                spools=options.spool_folder != NO_SPOOL,
                spool_folder=folders_of(options)[1],
                record=errors.of(_record_mode, options.record),
                hardware=errors.of(parse_hardware, options.gpus, options.gpu_name, options.gpu_price),
                failure_limit=errors.of(FailureLimit.parse, options.stop_after_failures),
                name=errors.of(parse_name, options.name),
                tags=errors.of(parse_tags, options.tag),
                upload_to=upload_to,
            )


def folders_of(options: Namespace) -> tuple[Path, Path | None]:
    """The folders of results and of spools, whatever is wrong with the other options. See RecordingOptions."""
    has_spool_folder = options.spool_folder not in ("", NO_SPOOL)
    return results_folder(options), Path(options.spool_folder) if has_spool_folder else None


def results_folder(options: Namespace) -> Path:
    """The folder on this machine in which each run makes its own."""
    return Path(options.local_results if is_url(options.results) else options.results)


def _objectives_of(options: Namespace) -> Objectives:
    """Raises ObjectiveError, OptionErrors."""
    with collect_errors() as errors:
        share = errors.of(parse_share, options.slo_share)
        bounds = errors.of(Objectives.parse, options.slo)
    return replace(bounds, share=share)


def _record_mode(text: str) -> RecordMode:
    try:
        return RecordMode(text)
    except ValueError:
        raise RecordingOptionError(not_one_of("--record", RecordMode, text)) from None


def add_options(parser: ArgumentParser) -> None:
    """Give Locust's parser (and so its web form) these options."""
    option = OptionAdder(parser)
    _add_run_options(option)
    _add_label_options(option)
    _add_hardware_options(option)
    _add_record_option(option)
    _add_metrics_options(option)
    _add_cluster_options(option)


def _add_run_options(option: OptionAdder) -> None:
    option(
        "--results",
        default="results",
        include_in_web_ui=False,
        text="folder in which each run makes a folder of its own; or the URL of a store, like s3://bucket/prefix, to "
        "which that folder is copied when the run is over (docs/options.md#results-in-a-store)",
    )
    option(
        "--local-results",
        default="results",
        include_in_web_ui=False,
        text="where --results is a URL: folder on this machine in which each run makes its own before it is copied",
    )
    option(
        "--spool-folder",
        default="",
        include_in_web_ui=False,
        text="folder on this machine that keeps ended requests until they are safe in the results, so that a killed "
        "process loses none (docs/distributed.md#sigkill-and-tokenswarm-recover); empty: spool/ in the run's own "
        "folder, or the system's temporary folder for a worker that was started by itself; off: ended requests are "
        "not kept",
    )
    option(
        "--slo",
        default="",
        text='objectives of a request, like "ttft=500ms tpot=50ms e2e=10s"; goodput counts the requests that meet all; '
        "empty: none",
    )
    option(
        "--slo-share",
        default=f"{DEFAULT_SHARE:.0%}",
        text="share of a level's requests that must be within all objectives for the level to meet them",
    )
    option(
        "--stop-after-failures",
        default="100%:50",
        metavar="SHARE:NUMBER|off",
        text="stop the run when, of the last NUMBER requests, at least SHARE failed "
        "(docs/exit-codes.md#a-run-in-which-requests-fail); off: never",
    )


def _add_label_options(option: OptionAdder) -> None:
    option(
        "--name",
        default="",
        text="what to call the run in lists, reports and comparisons (docs/sweeps.md#names-tags-and-lists-of-runs); "
        "empty: nothing",
    )
    option.repeated(
        "--tag",
        include_in_web_ui=False,
        metavar="KEY=VALUE",
        text="a tag of the run, like gpu=H100, by which lists are filtered; may be given several times",
    )


def _add_hardware_options(option: OptionAdder) -> None:
    option("--gpus", default="", text="number of GPUs that serve the model, for tokens/s per GPU; empty: not stated")
    option("--gpu-name", default="", text="what these GPUs are, like H100, for the report; empty: not stated")
    option(
        "--gpu-price",
        default="",
        text="US dollars per GPU and hour, like 2.5, for the price of a million output tokens; empty: not stated",
    )


def _add_record_option(option: OptionAdder) -> None:
    option(
        "--record",
        default=RecordMode.OFF.value,
        choices=[mode.value for mode in RecordMode],
        include_in_web_ui=False,
        text="keep requests and responses as JSON lines in records/ of the run's folder, without headers: text "
        "(messages and the answer's text), bodies (whole bodies), events (each read of the response with its time), or "
        "off; costs CPU time (docs/metrics.md#kept-requests)",
    )


def _add_metrics_options(option: OptionAdder) -> None:
    option(
        "--metrics-host",
        default="127.0.0.1",
        include_in_web_ui=False,
        text="address that Prometheus scrapes",
    )
    option(
        "--metrics-port",
        type=int,
        default=9646,
        include_in_web_ui=False,
        text="port that Prometheus scrapes, 0 for none; where it was not given and is taken, the next free one",
    )
    option.time(
        "--metrics-linger",
        default="0s",
        include_in_web_ui=False,
        text="time for which the metrics port stays open after a headless run, so that Prometheus gets the last "
        "values; set it longer than the scrape interval; Ctrl-C ends the wait",
    )


def _add_cluster_options(option: OptionAdder) -> None:
    option(
        "--cluster",
        default="",
        include_in_web_ui=False,
        text="name that a master and its workers share; a worker of another name is rejected",
    )
    option(
        "--cluster-key-file",
        default="",
        include_in_web_ui=False,
        text="file with a secret that a master and its workers share: messages not signed with it are ignored "
        "(docs/distributed.md#cluster-key); the secret itself may be in TOKENSWARM_CLUSTER_KEY instead; empty: none",
    )
