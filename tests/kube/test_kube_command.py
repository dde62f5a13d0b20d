"""`tokenswarm kube` against an API server of the test's: what is made, shown, copied, passed on and deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kube.fake_cluster import TOKEN, FakeCluster, pod
from tokenswarm import main
from tokenswarm.kube import follow
from tokenswarm.kube.kube_command import run

IMAGE = ("--image", "registry/tokenswarm:1")
RUN = ("run", *IMAGE, "--name", "run-1", "--workers", "2")
KEY = "sk-key-of-the-server-0123456789"
FILES = {
    ".exit-code": b"5\n",
    "20260701-120000-vllm/run.json": b'{"format": 9}',
    "20260701-120000-vllm/requests.csv": b"row\n" * 5000,
    "20260701-120000-vllm/charts/ttft.png": bytes(range(256)),
}
LOG = "2026-07-01T12:00:00.000000001Z the plan\n2026-07-01T12:00:01.000000001Z the table\n"
PENDING = pod(0, "Pending", state={}, conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}])  # fmt: skip  # noqa: E501


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_POLL_S", 0.01)


def workers(*further: dict[str, Any]) -> list[dict[str, Any]]:
    return [*further, pod(1), pod(2)]


def finished(cluster: FakeCluster) -> None:
    """Its pods start, run, and have results."""
    cluster.states = [[], workers(PENDING), workers(pod(0)), workers(pod(0, ready=True))]
    cluster.files, cluster.log = FILES, LOG
    cluster.latest = "20260701-120000-vllm"


def test_a_run_is_made_shown_copied_whole_and_deleted_and_its_code_passed_on(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLM_API_KEY", KEY)
    finished(cluster)
    made: dict[tuple[str, str], dict[str, Any]] = {}
    cluster.objects = made
    code = run([*RUN, "--to", str(tmp_path / "results"), "--keep", "--", "-H", "http://vllm:8000", "--levels", "10,50"])
    assert code == 5
    assert made.keys() == {(kind, "run-1") for kind in ("Secret", "Service", "NetworkPolicy", "Job")}
    (container,) = made["Job", "run-1"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][-5:] == ["--", "-H", "http://vllm:8000", "--levels", "10,50"]
    secret = made["Secret", "run-1"]["stringData"]
    assert secret["api-key"] == KEY
    assert len(secret["cluster-key"]) == 64
    assert KEY not in str({key: value for key, value in made.items() if key[0] != "Secret"})
    copied = tmp_path / "results" / "20260701-120000-vllm"
    assert {path.relative_to(copied.parent).as_posix(): path.read_bytes() for path in copied.rglob("*.*")} == {
        name: data for name, data in FILES.items() if "/" in name
    }
    assert sorted(path.name for path in copied.parent.iterdir()) == [copied.name]
    assert cluster.executed == [["tar", "cf", "-", "-C", "/results", "."], ["touch", "/results/.collected"]]
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["the plan", "the table", f"Results: {copied}"]
    assert "2 of 3 pods are running; waiting: 0/3 nodes are available: 3 Insufficient cpu" in shown.err
    assert KEY not in shown.out + shown.err
    assert cluster.tokens == {f"Bearer {TOKEN}"}
    assert cluster.deleted == []
    assert run(["delete", "run-1"]) == 0
    assert {kind for kind, _ in cluster.deleted} == {"Secret", "Service", "NetworkPolicy", "Job"}
    assert not cluster.objects


def test_what_is_collected_is_deleted_from_the_cluster(cluster: FakeCluster, tmp_path: Path) -> None:
    finished(cluster)
    assert run([*RUN, "--to", str(tmp_path), "--", "-H", "http://vllm:8000"]) == 5
    assert not cluster.objects
    assert len(cluster.deleted) == 4


def test_results_that_do_not_arrive_whole_stay_in_the_pod(
    cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(cluster)
    cluster.cut_bytes = 20_000
    assert run([*RUN, "--to", str(tmp_path / "results"), "--", "-H", "http://vllm:8000"]) == 2
    assert "The results of pod run-1-0-x7k2p did not arrive whole" in capsys.readouterr().err
    assert ["touch", "/results/.collected"] not in cluster.executed
    assert not cluster.deleted
    assert list((tmp_path / "results").iterdir()) == []
    cluster.cut_bytes = 0
    assert run(["results", "run-1", "--to", str(tmp_path / "results")]) == 5
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["20260701-120000-vllm"]


def test_results_of_a_release_of_the_chart_are_its_masters_though_its_workers_have_an_index_0_too(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    master, worker = pod(0, ready=True), pod(0)
    master["metadata"]["labels"] = {"app.kubernetes.io/component": "master"}
    worker["metadata"] = {"name": "worker", "labels": {**pod(0)["metadata"]["labels"], "app.kubernetes.io/component": "worker"}}  # fmt: skip  # noqa: E501
    cluster.states, cluster.files = [[worker, master]], FILES
    assert run(["results", "run-1", "--to", str(tmp_path)]) == 5
    assert [path.name for path in tmp_path.glob("2*")] == ["20260701-120000-vllm"]


def test_a_name_that_leads_out_of_the_folder_is_refused(
    cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(cluster)
    cluster.files = FILES | {"../escaped.txt": b"x"}
    assert run([*RUN, "--to", str(tmp_path / "results"), "--", "-H", "http://vllm:8000"]) == 2
    assert "did not arrive whole" in capsys.readouterr().err
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_run_whose_results_were_uploaded_ends_with_its_containers_code(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.states = [workers(pod(0)), workers(pod(0, "Succeeded", state={"terminated": {"exitCode": 1}}))]
    assert run([*RUN, "--to", str(tmp_path), "--", "--results", "s3://bucket/x", "-H", "http://vllm:8000"]) == 1
    assert cluster.executed == []
    assert not cluster.objects


@pytest.mark.parametrize(
    ("pods", "code", "sentence"),
    [
        (
            [pod(0, "Pending", state={"waiting": {"reason": "ImagePullBackOff", "message": "denied: no access"}})],
            2,
            "The image registry/tokenswarm:1 of pod run-1-0-x7k2p cannot be pulled: denied: no access.",
        ),
        (
            [
                pod(0),
                pod(
                    1,
                    "Pending",
                    state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}},
                ),
            ],
            3,
            'Pod run-1-1-x7k2p cannot start: secret "x" not found.',
        ),
        (
            [pod(0, "Failed", reason="Evicted", message="The node was low on resource: memory. ")],
            3,
            "Pod run-1-0-x7k2p was lost: Evicted: The node was low on resource: memory.",
        ),
    ],
)
def test_what_cannot_go_on_ends_with_one_sentence(
    pods: list[dict[str, Any]],
    code: int,
    sentence: str,
    cluster: FakeCluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster.states = [pods]
    assert run([*RUN, "--to", str(tmp_path / "r"), "--", "-H", "http://vllm:8000"]) == code
    assert capsys.readouterr().err.splitlines()[-1] == f"tokenswarm kube run: {sentence}"


def test_pods_that_find_no_place_in_time_are_deleted(
    cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.states = [[PENDING]]
    assert run([*RUN, "--to", str(tmp_path), "--start-within", "50ms", "--", "-H", "http://vllm:8000"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "tokenswarm kube run: The master did not start within 0.05 s (--start-within): 0/3 nodes are available: 3 "
        "Insufficient cpu."
    )
    assert not cluster.objects


def test_a_worker_that_is_evicted_is_noted_and_the_run_goes_on(
    cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(cluster)
    lost = pod(2, "Failed", reason="Evicted", message="low on memory")
    cluster.states = [[pod(0), pod(1), lost], [pod(0, ready=True), pod(1), lost]]
    assert run([*RUN, "--to", str(tmp_path), "--", "-H", "http://vllm:8000"]) == 5
    assert "Pod run-1-2-x7k2p was lost: Evicted: low on memory." in capsys.readouterr().err


@pytest.mark.parametrize("refused", ["secrets", "jobs"])
def test_without_permission_nothing_is_left_and_the_servers_sentence_is_shown(
    refused: str, cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.forbidden = refused
    assert run([*RUN, "--", "-H", "http://vllm:8000"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f'run-1 cannot be made: {refused} is forbidden: User "test" cannot create resource "{refused}".' in line
    assert not cluster.objects


def test_a_cluster_that_does_not_answer_and_a_kubeconfig_that_is_none_end_in_one_sentence(
    cluster: FakeCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.url = "http://127.0.0.1:9"
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path / "dead")))
    assert run(["delete", "run-1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Connection refused" in line
    (tmp_path / "broken").write_text(": {")
    assert run(["logs", "run-1", "--context", "none"]) == 2
    assert "There is no usable kubeconfig" in capsys.readouterr().err


def test_logs_and_names_of_other_runs(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.log = LOG
    assert run(["logs", "run-1"]) == 2
    assert capsys.readouterr().err == "tokenswarm kube logs: There is no master of a run run-1 in namespace load.\n"
    assert run(["delete", "run-1"]) == 2
    cluster.states = [workers(pod(0))]
    capsys.readouterr()
    assert run(["logs", "run-1"]) == 0
    assert capsys.readouterr().out == "the plan\nthe table\n"


def test_a_dry_run_prints_the_manifests_without_secrets_and_needs_no_cluster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLM_API_KEY", KEY)
    monkeypatch.setenv("KUBECONFIG", "/dev/null/none")
    assert run([*RUN, "--dry-run", "--", "-H", "http://vllm:8000", "--slo", "ttft=500ms"]) == 0
    text = capsys.readouterr().out
    assert [each["kind"] for each in yaml.safe_load_all(text)] == ["Service", "NetworkPolicy", "Job"]
    assert KEY not in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((*RUN, "--", "--master"), "--master: set by kube run itself; use --workers for the number of workers."),
        ((*RUN, "--name", "Run_1"), "--name takes at most 50 lower-case letters, digits and dashes, a letter first."),
        (("run", *IMAGE, "--workers", "-1"), "--workers takes a whole number, 0 or more, got -1."),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_made(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert capsys.readouterr().err == f"tokenswarm kube run: {sentence}\n"


@pytest.mark.parametrize("command", [[], ["kube"]])
def test_a_command_without_its_action_is_unusable(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert "--help" in err
