"""A run in MLflow, read back with MLflow's own client; what is written there, without it."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import msgspec
import pytest

from tests.reports.services.exported_run import summary_of
from tests.reports.services.otlp_receiver import Receiver
from tokenswarm.reports.services import export_errors
from tokenswarm.reports.services.export_errors import ExportFailed
from tokenswarm.reports.services.mlflow_export import (
    check_mlflow,
    export_mlflow,
    level_metrics,
    level_steps,
    run_params,
    run_tags,
)
from tokenswarm.run_folder.open_loop_figures import OpenLoopFigures
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import Status

PARAMS = {
    "model": "llama-3-8b",
    "engine": "vllm",
    "engine_version": "0.32.0",
    "host": "http://gpu:8000",
    "shape": "ladder",
    "workers": "1",
    "tokenswarm_version": "0.1.0",
    "options.levels": "10,50",
    "options.max_tokens": "128",
}
TAGS = {
    "gpu": "H100",
    "tokenswarm.run.id": "20240605-140300-vllm",
    "tokenswarm.run.status": "finished",
    "tokenswarm.run.validity": "valid",
}


def test_parameters_are_the_server_and_the_options_that_were_changed(exported: Results) -> None:
    assert run_params(exported) == PARAMS
    assert run_tags(exported) == TAGS


def test_metrics_are_those_of_the_summary_by_level(exported: Results) -> None:
    found = {(name, step): (value, ended_ms) for name, value, ended_ms, step in level_metrics(exported)}
    for level in summary_of(exported.folder)["levels"]:
        hold, of = level["hold"], f"system_prompt_{level['system_prompt']}"
        expected = {
            "load": level["users"],
            "token_rate": hold["token_rate"],
            "requests": hold["requests"],
            "failures": hold["failures"],
            "outcomes_timeout": hold["outcomes"]["timeout"],
            "ttft_s_p99": hold["ttft_s"]["p99"]["value"],
            "tpot_s_mean": hold["tpot_s"]["mean"],
            "gap_s_p95": hold["gap_s"]["p95"]["value"],
            "e2e_s_max": hold["e2e_s"]["max"],
        }
        for name, value in expected.items():
            assert found[f"{of}/{name}", level["users"]][0] == value, name
    # The end of the hold: 300 s after the run's beginning.
    assert found["system_prompt_off/load", 10][1] == 1_717_596_480_000


def test_steps_are_places_where_a_rate_is_no_whole_number(exported: Results) -> None:
    assert level_steps(exported) == {0: 10, 1: 50}
    first, second = exported.summary.levels
    rates = dict.fromkeys(("sent_rate", "completed_rate", "in_flight_mean", "in_flight_max"), 5.0)
    open_loop = msgspec.convert({"requested_rate": 0.5, **rates}, OpenLoopFigures)
    levels = (msgspec.structs.replace(first, open_loop=open_loop), second)
    summary = msgspec.structs.replace(exported.summary, levels=levels)
    assert level_steps(msgspec.structs.replace(exported, summary=summary)) == {0: 1, 1: 2}


@pytest.mark.parametrize(
    "place",
    ["", "s3://bucket", "http://", "http://[", "https://host:0", "/no/such/folder", "http://me:s3cret@host"],
)
def test_a_place_that_cannot_be_used_is_refused(place: str) -> None:
    with pytest.raises(ReportError, match="--to mlflow") as refused:
        check_mlflow(place)
    assert "s3cret" not in str(refused.value)


def test_the_extra_that_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_errors, "find_spec", lambda name: None)
    with pytest.raises(ReportError, match=r"pip install '\.\[mlflow\]' in Tokenswarm's folder"):
        check_mlflow("http://mlflow:5000")


# With MLflow itself.


@pytest.fixture
def mlflow_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    # Set for the test, so that what the export sets does not stay.
    for name, value in (
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "5"),
        ("MLFLOW_ALLOW_FILE_STORE", "true"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
    ):
        monkeypatch.setenv(name, value)


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_installed")
def test_a_run_is_read_back_as_it_was_written(exported: Results, tmp_path: Path) -> None:
    (exported.folder / "charts").mkdir()
    (exported.folder / "charts" / "ttft.png").write_bytes(b"a picture")
    store = tmp_path / "runs"
    assert "experiment tokenswarm, run " in export_mlflow(exported, str(store))

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store.as_uri())
    experiment = client.get_experiment_by_name("tokenswarm")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("nightly", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1_717_596_180_000, 1_717_598_280_000)
    assert run.data.params == PARAMS
    assert TAGS.items() <= run.data.tags.items()
    written = [
        (name, each.value, each.timestamp, each.step)
        for name in run.data.metrics
        for each in client.get_metric_history(run.info.run_id, name)
    ]
    assert sorted(written) == sorted(level_metrics(exported))
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"charts", "run.json", "summary.json"}
    copy = Path(client.download_artifacts(run.info.run_id, "summary.json", str(tmp_path)))
    assert copy.read_bytes() == (exported.folder / "summary.json").read_bytes()
    (chart,) = client.list_artifacts(run.info.run_id, "charts")
    assert chart.file_size == len(b"a picture")


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_installed")
def test_status_and_experiment_are_those_of_the_run_and_the_variable(
    exported: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    summary = msgspec.structs.replace(exported.summary, status=Status.INTERRUPTED)
    export_mlflow(msgspec.structs.replace(exported, summary=summary), str(tmp_path / "runs"))

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.info.status == "KILLED"


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_installed")
def test_a_server_that_is_not_there_is_one_sentence(exported: Results) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ExportFailed) as failed:
            export_mlflow(exported, url)
    assert str(failed.value) == (
        f"not exported to {url}: {url} cannot be reached (Connection refused); is a tracking server of MLflow there?"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_installed")
def test_a_server_that_is_no_mlflow_is_one_sentence(exported: Results, receiver: Receiver) -> None:
    with pytest.raises(ExportFailed) as failed:
        export_mlflow(exported, receiver.url)
    assert str(failed.value).startswith(f"not exported to {receiver.url}: API request to ")
    assert str(failed.value).endswith("failed with error code 501 != 200.")


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_installed")
def test_a_run_that_is_not_written_whole_is_a_failed_one(
    exported: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(MlflowClient, "log_artifact", full)
    with pytest.raises(ExportFailed, match=r": No space left on device\.$"):
        export_mlflow(exported, str(tmp_path / "runs"))
    client = MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("tokenswarm").experiment_id])
    assert run.info.status == "FAILED"
