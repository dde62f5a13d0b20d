"""Exports a run to MLflow: one run there, with the options as parameters, the figures of each level as metrics, and the
summary, page and charts as artifacts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.reports import units
from tokenswarm.reports.services.export_errors import ExportFailed, need_extra, system_error
from tokenswarm.reports.services.level_times import hold_time
from tokenswarm.reports.services.otlp_attributes import ns_of, run_id
from tokenswarm.run_folder.csv_reader import load_windows
from tokenswarm.run_folder.distribution import Distribution
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import LevelSummary, Status
from tokenswarm.sanitize import hide, server_text, shown

#: Set where the user has not: no data of use goes to MLflow's makers, a server that is not there is reported within
#: seconds, and a folder may be a store.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
_DEFAULT_EXPERIMENT = "tokenswarm"
#: What MLflow accepts at most: of one request, and of a value.
_MOST_METRICS, _MOST_PARAMS, _MOST_VALUE = 1_000, 100, 6_000
#: What stands in MLflow's text before a page of HTML.
_PAGE = " Response body: '<"
_MOST_CHARACTERS = 300
_ARTIFACTS = ("summary.json", "summary.csv", "run.json", "report.html")
_STATUS = {Status.FINISHED: "FINISHED", Status.RECOVERED: "FINISHED", Status.INTERRUPTED: "KILLED"}
_FIGURES = ("ttft_s", "tpot_s", "gap_s", "e2e_s", "request_token_rate", "lag_s", "ttft_scheduled_s", "e2e_scheduled_s")
_NUMBERS = ("requests", "failures", "output_tokens", "token_rate", "good_token_rate", "request_rate")


def check_mlflow(place: str) -> str:
    """The tracking URI of a place. Raises ReportError where it cannot be used, as far as that shows without a
    connection."""
    uri = _tracking_uri(place)
    need_extra("mlflow", "mlflow", "mlflow")
    return uri


def export_mlflow(results: Results, place: str) -> str:
    """Write one run. Returns what was written, a line. Raises ReportError, ExportFailed."""
    uri = check_mlflow(place)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in _SECRETS:
        hide(os.environ.get(name, ""))
    params, tags, metrics = run_params(results), run_tags(results), list(level_metrics(results))
    from mlflow.tracking import MlflowClient

    experiment = os.environ.get(_EXPERIMENT) or _DEFAULT_EXPERIMENT
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else client.create_experiment(experiment)
        began_ms = ns_of(results.run.started_at) // 1_000_000
        name = results.run.name or run_id(results)
        started = client.create_run(experiment_id, start_time=began_ms, tags=tags, run_name=name).info.run_id
        try:
            _log(client, started, params, metrics)
            files = _upload(client, started, results.folder)
        except BaseException:
            client.set_terminated(started, "FAILED")
            raise
        ended_at = results.run.ended_at or results.run.started_at
        client.set_terminated(started, _STATUS.get(results.status, "FAILED"), ns_of(ended_at) // 1_000_000)
    except Exception as error:  # MLflow's own, those of its HTTP library, and the system's
        raise ExportFailed(f"not exported to {shown(place)}: {_error_text(error, place, uri)}") from None
    counted = units.counted(len(metrics), "value"), units.counted(files, "file")
    return f"{shown(place)} (experiment {shown(experiment)}, run {started}: {', '.join(counted)})"


def run_params(results: Results) -> dict[str, str]:
    """What defined the run: the server, and the options that are not at their default."""
    run = results.run
    changed = run.options if run.changed_options is None else run.changed_options
    params: dict[str, Any] = {
        "model": run.model,
        "engine": run.engine,
        "engine_version": run.engine_version,
        "host": run.host,
        "shape": run.shape,
        "workers": run.workers,
        "tokenswarm_version": run.tokenswarm_version,
        **{f"options.{name}": run.options[name] for name in sorted(changed) if name in run.options},
    }
    return {name: _value_text(value)[:_MOST_VALUE] for name, value in params.items() if value not in (None, "")}


def run_tags(results: Results) -> dict[str, str]:
    """The run's own tags, and by what it is found and judged."""
    return {
        **results.run.tags,
        "tokenswarm.run.id": run_id(results),
        "tokenswarm.run.status": results.status.value,
        "tokenswarm.run.validity": results.summary.validity.verdict,
    }


def level_metrics(results: Results) -> Iterator[tuple[str, float, int, int]]:
    """(name, value, moment in ms since 1970, step) of each figure of the hold of each level, in the units of
    summary.json. The name begins with the system prompt, as a level has the same step with and without."""
    windows, steps = load_windows(results), level_steps(results)
    for level in results.summary.levels:
        ended_ms = hold_time(results, windows, level).ended_ns // 1_000_000
        for name, value in level_figures(level).items():
            yield f"system_prompt_{level.system_prompt}/{name}", value, ended_ms, steps[level.index]


def level_steps(results: Results) -> dict[int, int]:
    """By the level's index its users, or its rate where all rates are whole numbers, as MLflow has no other steps; else
    its place in the run, from 1."""
    levels = results.summary.levels
    if all(float(level.load).is_integer() for level in levels):
        return {level.index: int(level.load) for level in levels}
    return {level.index: place for place, level in enumerate(levels, start=1)}


def level_figures(level: LevelSummary) -> dict[str, float]:
    """By the names of summary.csv, without those that are undefined."""
    hold = level.hold
    found: dict[str, Any] = {"load": level.load}
    found |= {name: getattr(hold, name) for name in _NUMBERS}
    found |= {f"outcomes_{outcome}": count for outcome, count in hold.outcomes.items()}
    if hold.goodput is not None:
        found |= {"goodput_requests_per_s": hold.goodput.requests_per_s, "goodput_fraction": hold.goodput.fraction}
    for figure in _FIGURES:
        found |= {f"{figure}_{name}": value for name, value in _spread(getattr(hold, figure)).items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def _spread(values: Distribution | None) -> dict[str, float | None]:
    if values is None:
        return {}
    quantiles = {"p50": values.p50, "p90": values.p90, "p95": values.p95, "p99": values.p99}
    ends = {"count": values.count, "mean": values.mean, "min": values.min, "max": values.max}
    return {**ends, **{name: quantile.value for name, quantile in quantiles.items() if quantile is not None}}


def _log(client: Any, started: str, params: Mapping[str, str], metrics: list[tuple[str, float, int, int]]) -> None:
    from mlflow.entities import Metric, Param

    of_run = [Param(name, value) for name, value in params.items()]
    for place in range(0, len(of_run), _MOST_PARAMS):
        client.log_batch(started, params=of_run[place : place + _MOST_PARAMS])
    of_levels = [Metric(name, value, ended_ms, step) for name, value, ended_ms, step in metrics]
    for place in range(0, len(of_levels), _MOST_METRICS):
        client.log_batch(started, metrics=of_levels[place : place + _MOST_METRICS])


def _upload(client: Any, started: str, folder: Path) -> int:
    """Returns the number of files."""
    files = [(folder / name, None) for name in _ARTIFACTS if (folder / name).is_file()]
    charts = [(file, "charts") for file in sorted((folder / "charts").glob("*.png"))]
    for file, place in (*files, *charts):
        client.log_artifact(started, str(file), place)
    return len(files) + len(charts)


def _tracking_uri(place: str) -> str:
    if "://" not in place:
        folder = Path(place).absolute()
        if not place or folder.is_file() or not folder.parent.is_dir():
            raise ReportError(
                "--to mlflow takes the URL of a tracking server, like http://mlflow:5000, or a folder; there is no "
                f"folder {shown(place)!r}, nor could it be made."
            )
        return folder.as_uri()
    try:
        url = urlsplit(place)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ReportError(
            "--to mlflow takes the URL of a tracking server, like http://mlflow:5000, or a folder; it was "
            f"{shown(place)}."
        )
    if url.username or url.password:
        raise ReportError(
            "The URL of --to mlflow must hold no credentials: give them in MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or in MLFLOW_TRACKING_TOKEN."
        )
    return place.rstrip("/")


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _error_text(error: Exception, place: str, uri: str) -> str:
    """In one sentence."""
    reason = system_error(error)
    if reason and not uri.startswith("file:"):
        return f"{shown(place)} cannot be reached ({reason}); is a tracking server of MLflow there?"
    text = (reason or str(error) or type(error).__name__).strip().splitlines()[0].partition(_PAGE)[0]
    return f"{server_text(text, _MOST_CHARACTERS).rstrip('.')}."
