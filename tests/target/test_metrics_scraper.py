"""Looking at a server's own metrics: what is read, what is passed over, and what is never sent where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import gevent
import pytest
from gevent.pywsgi import WSGIServer

import tokenswarm.target.metrics_scraper
from tests.peer import Server, until
from tokenswarm.client.server_metrics_options import ServerMetricsOptions
from tokenswarm.target.metrics_scraper import MetricsScraper
from tokenswarm.wire import Origin, TlsSettings

VLLM = b'vllm:num_requests_running{model_name="m"} 3.0\nvllm:num_requests_waiting{model_name="m"} 1.0\n'
BUSY = b"busy"
DCGM = b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 80\n'


class Log:
    """Always due; keeps what it is told."""

    def __init__(self) -> None:
        self.found: list[tuple[str | None, str | None, str | None]] = []
        self.looks: list[tuple[Mapping[str, float], int]] = []

    def server_is_due(self) -> bool:
        return True

    def server_found(self, source: str | None, gpu_source: str | None, note: str | None) -> None:
        self.found.append((source, gpu_source, note))

    def take_server_values(self, values: Mapping[str, float], failures: int) -> None:
        self.looks.append((values, failures))


class Pages:
    """A web server of pages that the test may change; what it was asked stands in `asked`."""

    def __init__(self, **pages: bytes) -> None:
        self.pages = {f"/{name}": page for name, page in pages.items()}
        self.asked: list[tuple[str, str | None]] = []
        self._server = WSGIServer(("127.0.0.1", 0), self._answer, log=None)
        self._server.start()
        self.origin = Origin("127.0.0.1", self._server.server_port)

    def close(self) -> None:
        self._server.stop(timeout=1)

    def _answer(self, environ: dict[str, str], start: Callable[..., object]) -> list[bytes]:
        self.asked.append((environ["PATH_INFO"], environ.get("HTTP_AUTHORIZATION")))
        page = self.pages.get(environ["PATH_INFO"])
        status = "404 Not Found" if page is None else "503 Service Unavailable" if page is BUSY else "200 OK"
        start(status, [("Content-Type", "text/plain")])
        return [page or b"nothing here"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenswarm.target.metrics_scraper, "_CHECK_EVERY_S", 0.01)


@pytest.fixture
def serve() -> Iterator[Callable[..., Pages]]:
    started: list[Pages] = []

    def start(**pages: bytes) -> Pages:
        started.append(Pages(**pages))
        return started[-1]

    yield start
    for pages in started:
        pages.close()


@pytest.fixture
def watch() -> Iterator[Callable[..., Log]]:
    """Starts a watch of a server, for --server-metrics auto unless a page is given, and hands out its log."""
    watches: list[MetricsScraper] = []

    def start(*hosts: Origin, engine: str = "vllm", page: Origin | None = None, gpu: Origin | None = None) -> Log:
        log = Log()
        options = ServerMetricsOptions(auto=page is None, page=page, gpu_page=gpu)
        headers = {"Authorization": "Bearer secret"}
        watches.append(MetricsScraper(options, engine, dict.fromkeys(hosts, headers), TlsSettings(), log))
        watches[-1].start()
        return log

    yield start
    for each in watches:
        each.stop()


def test_the_engines_own_page_is_found_and_read_with_the_api_key(
    serve: Callable[..., Pages], watch: Callable[..., Log]
) -> None:
    server = serve(metrics=VLLM)
    log = watch(server.origin)
    until(lambda: len(log.looks) > 2)
    assert log.looks[:2] == [({"requests_running": 3.0, "requests_waiting": 1.0}, 0)] * 2
    assert log.found[-1] == (f"http://{server.origin.authority}/metrics", None, None)
    assert set(server.asked) == {("/metrics", "Bearer secret")}


def test_a_server_without_metrics_is_asked_once_and_the_reason_is_kept(
    serve: Callable[..., Pages], watch: Callable[..., Log]
) -> None:
    server = serve()
    log = watch(server.origin)
    until(lambda: log.looks)
    gevent.sleep(0.05)
    assert server.asked == [("/metrics", "Bearer secret")]
    assert log.looks == [({}, 1)]
    assert log.found[-1] == (None, None, f"http://{server.origin.authority}/metrics: HTTP 404")


def test_an_engine_that_shows_none_is_not_asked(serve: Callable[..., Pages], watch: Callable[..., Log]) -> None:
    server = serve(metrics=VLLM)
    log = watch(server.origin, engine="ollama")
    gevent.sleep(0.05)
    assert (server.asked, log.looks) == ([], [])
    assert log.found == [(None, None, "ollama shows no metrics")]


def test_trtllm_s_list_of_steps_is_read_where_it_has_no_prometheus_page(
    serve: Callable[..., Pages], watch: Callable[..., Log]
) -> None:
    server = serve(metrics=b'[{"numActiveRequests": 4, "numQueuedRequests": 2}]')
    log = watch(server.origin, engine="trtllm")
    until(lambda: len(log.looks) > 2)
    assert log.looks[0] == ({"requests_running": 4.0, "requests_waiting": 2.0}, 0)
    assert [path for path, _ in server.asked[:3]] == ["/prometheus/metrics", "/metrics", "/metrics"]


@pytest.mark.parametrize(
    "at_first",
    [
        # Some engines show a series only once a request has touched it.
        pytest.param(b"process_cpu_seconds_total 1.5\n", id="it names nothing yet"),
        pytest.param(BUSY, id="it cannot answer yet"),
    ],
)
def test_a_page_that_is_of_no_use_at_first_is_asked_again(
    serve: Callable[..., Pages], watch: Callable[..., Log], at_first: bytes
) -> None:
    server = serve(metrics=at_first)
    log = watch(server.origin)
    until(lambda: log.looks)
    server.pages["/metrics"] = VLLM
    until(lambda: log.looks[-1][0])
    assert log.looks[0] == ({}, 1)
    assert log.found[-1][0] == f"http://{server.origin.authority}/metrics"


def test_a_page_that_goes_and_comes_back_costs_no_more_than_the_looks_between(
    serve: Callable[..., Pages], watch: Callable[..., Log]
) -> None:
    server = serve(metrics=VLLM)
    log = watch(server.origin)
    until(lambda: log.looks)
    del server.pages["/metrics"]
    until(lambda: log.looks[-1] == ({}, 1))
    server.pages["/metrics"] = VLLM
    until(lambda: log.looks[-1][0])
    assert log.found[-1] == (
        f"http://{server.origin.authority}/metrics",
        None,
        f"http://{server.origin.authority}/metrics: HTTP 404",
    )


def test_gpus_are_read_beside_the_server_and_no_other_machine_gets_the_key(
    serve: Callable[..., Pages], watch: Callable[..., Log]
) -> None:
    server, page, exporter = serve(), serve(own=VLLM), serve(metrics=DCGM)
    where = Origin("127.0.0.1", page.origin.port, "/own")
    log = watch(server.origin, page=where, gpu=Origin("127.0.0.1", exporter.origin.port, "/metrics"))
    until(lambda: log.looks)
    assert log.looks[0] == ({"requests_running": 3.0, "requests_waiting": 1.0, "gpu_utilization": 0.8}, 0)
    assert set(page.asked) == {("/own", None)}
    assert set(exporter.asked) == {("/metrics", None)}
    assert server.asked == []


def test_a_dead_exporter_takes_nothing_from_what_the_server_tells(
    serve: Callable[..., Pages], watch: Callable[..., Log], server: Server
) -> None:
    server.close()
    told = serve(metrics=VLLM)
    log = watch(told.origin, gpu=Origin(server.origin.host, server.origin.port, "/metrics"))
    until(lambda: len(log.looks) > 1)
    assert log.looks[:2] == [({"requests_running": 3.0, "requests_waiting": 1.0}, 1)] * 2
    assert "Connection refused" in str(log.found[-1][2])


def test_a_server_that_takes_the_question_and_never_answers_is_given_up_in_time(
    server: Server, watch: Callable[..., Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenswarm.target.metrics_scraper, "LIMIT_S", 0.05)
    log = watch(server.origin)
    peer = server.accept()
    assert peer.request().startswith(b"GET /metrics HTTP/1.1\r\n")
    until(lambda: log.looks)
    assert log.looks == [({}, 1)]
    assert peer.hears_the_end()


def test_several_hosts_are_read_as_one_server(serve: Callable[..., Pages], watch: Callable[..., Log]) -> None:
    shares = b'vllm:gpu_cache_usage_perc{model_name="m"} %.1f\n'
    one, two = serve(metrics=VLLM + shares % 0.2), serve(metrics=VLLM + shares % 0.6)
    log = watch(one.origin, two.origin)
    until(lambda: len(log.looks) > 1)
    values, failures = log.looks[0]
    assert failures == 0
    assert (values["requests_running"], values["requests_waiting"]) == (6.0, 2.0)
    assert values["kv_cache_utilization"] == pytest.approx(0.4)
    assert log.found[-1][0] == f"http://{one.origin.authority}/metrics, http://{two.origin.authority}/metrics"


def test_while_one_of_several_hosts_cannot_be_read_there_is_no_value(
    serve: Callable[..., Pages], watch: Callable[..., Log]
) -> None:
    one, two = serve(metrics=VLLM), serve(metrics=BUSY)
    log = watch(one.origin, two.origin)
    until(lambda: len(log.looks) > 1)
    assert log.looks[0] == ({}, 1)
    two.pages["/metrics"] = VLLM
    until(lambda: log.looks[-1][0])
    assert log.looks[-1] == ({"requests_running": 6.0, "requests_waiting": 2.0}, 0)


def test_a_note_holds_no_secret_and_no_control_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_KEY", "sk-0123456789abcdef")
    log = Log()
    scraper = MetricsScraper.__new__(MetricsScraper)
    scraper._note, scraper._servers, scraper._gpu_page, scraper._log = None, [], None, log
    scraper._note_once("HTTP 403: \x1b[31m sk-0123456789abcdef")
    assert log.found == [(None, None, "HTTP 403: \\x1b[31m [secret]")]
