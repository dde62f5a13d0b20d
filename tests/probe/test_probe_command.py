"""`tokenswarm probe` against servers that cannot be probed: one sentence with what to do, and exit code 2."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from tests.forked_process import start_program
from tests.runs.harness import free_port
from tests.site import Page, Site
from tokenswarm import main
from tokenswarm.command_line.exit_codes import EXIT_SIGINT
from tokenswarm.sanitize import API_KEY_VARIABLE
from tokenswarm.target.embedded_servers import EmbeddedSimulator

MODELS = json.dumps({"data": [{"id": "llama-real", "owned_by": "vllm"}]})
VLLM: dict[str, Page] = {"/v1/models": (200, MODELS), "/version": (200, '{"version":"0.32.0"}')}
Refuse = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """The only line on the standard error of a probe that fails."""
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)

    def run(*arguments: str) -> str:
        assert main(["probe", *arguments]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        (line,) = output.err.splitlines()
        return line

    return run


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(pages: dict[str, Page], otherwise: Page | None = (404, "Not Found")) -> Site:
        made.append(Site(pages, otherwise))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_a_wrong_model_is_refused_with_the_models_that_the_server_lists(
    site: Callable[..., Site], refused: Refuse
) -> None:
    error = json.dumps({"error": {"message": "The model `wrong` does not exist."}})
    line = refused("-H", site({**VLLM, "/v1/chat/completions": (404, error)}).host, "--model", "wrong")
    assert "does not exist. Check --model 'wrong': the server lists 'llama-real'." in line
    assert "http_error" not in line


def test_a_server_that_loads_is_reported_once_as_not_ready(site: Callable[..., Site], refused: Refuse) -> None:
    line = refused("-H", site({}, otherwise=(503, "")).host)
    assert line.count("ready") == 1
    assert "GET /v1/models gives HTTP 503" in line


def test_a_port_without_a_server_is_named_with_what_to_check(refused: Refuse) -> None:
    host = f"http://127.0.0.1:{free_port()}"
    line = refused("-H", host)
    assert "cannot be reached" in line
    assert f"is --host {host} right, and does it run?" in line


def test_https_to_a_server_of_plain_http_names_the_address_that_works(
    site: Callable[..., Site], refused: Refuse
) -> None:
    plain = site(VLLM)
    assert refused("-H", f"https://{plain.address}").endswith(f"try {plain.host}.")


def test_a_web_server_is_named_as_one(site: Callable[..., Site], refused: Refuse) -> None:
    web = site({}, otherwise=(200, "<html>Welcome</html>"))
    assert f"{web.host} answers with a web page" in refused("-H", web.host)


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "does not accept the key in LLM_API_KEY"), (403, "refused with the key of LLM_API_KEY")],
)
def test_a_refused_key_is_named_as_such(
    site: Callable[..., Site], refused: Refuse, monkeypatch: pytest.MonkeyPatch, status: int, advice: str
) -> None:
    server = site({}, otherwise=(status, "{}"))
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-wrong")
    assert advice in refused("-H", server.host)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "gpu:8000"])
def test_an_address_without_its_option_is_named_with_the_option(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(["probe", address]))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"-H {address}" in line


@pytest.mark.parametrize("stray", ["x", "http://127.0.0.1:9"])
def test_a_word_that_is_no_address_or_comes_beside_one_is_not_taken_for_the_address(
    stray: str, refused: Refuse
) -> None:
    line = refused("-H", "http://127.0.0.1:9", stray)
    assert f"unexpected argument '{stray}'" in line
    assert f"-H {stray}" not in line
    assert "-H x" not in refused("x")


def test_an_api_key_on_the_command_line_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(["probe", "-H", "http://127.0.0.1:9", "--api-key", "sk-secret"]))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert API_KEY_VARIABLE in line
    assert "sk-secret" not in line


@pytest.fixture(scope="module")
def simulator() -> Iterator[EmbeddedSimulator]:
    simulator = EmbeddedSimulator()
    yield simulator
    simulator.stop()


def test_a_given_engine_that_the_server_does_not_look_like_is_named_where_it_is_refused(
    site: Callable[..., Site], refused: Refuse
) -> None:
    line = refused("-H", site(VLLM, otherwise=(404, "{}")).host, "--engine", "tgi", "--model", "any")
    assert "--engine tgi was given, but the server looks like vllm" in line


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("form", [["--json"], []])
def test_a_report_that_cannot_be_written_is_no_success(form: list[str], simulator: EmbeddedSimulator) -> None:
    command = [sys.executable, str(Path(__file__).parents[2] / "tokenswarm.py"), "probe", "-H", simulator.host]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*command, *form], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert "No space left" in done.stderr


def test_ctrl_c_while_a_server_is_waited_for_is_one_sentence(site: Callable[..., Site]) -> None:
    server = site({}, otherwise=None)  # it is silent
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    probe = start_program("tokenswarm", ["probe", "-H", server.host], **pipes)
    while not server.requests:
        assert probe.poll() is None
        gevent.sleep(0.01)
    probe.send_signal(signal.SIGINT)
    assert probe.communicate(timeout=60) == ("", "tokenswarm: ended with Ctrl-C.\n")
    assert probe.returncode == EXIT_SIGINT
