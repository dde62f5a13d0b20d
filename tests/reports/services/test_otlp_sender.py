"""What a receiver answers, and what a user reads then: one sentence."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme

from tests.forked_process import run_command
from tests.reports.folders import write_csv
from tests.reports.services.exported_run import rows_of
from tests.reports.services.otlp_receiver import Answer, Receiver, receiving, rejecting
from tokenswarm.reports.services import export_errors
from tokenswarm.reports.services.export_errors import ExportFailed
from tokenswarm.reports.services.otlp_endpoint import parse_endpoint
from tokenswarm.reports.services.otlp_export import export_otlp
from tokenswarm.run_folder.reader import ReportError, Results
from tokenswarm.run_folder.schema import REQUEST_COLUMNS

pytest.importorskip("opentelemetry.proto", reason="the extra opentelemetry is not installed")

#: A google.rpc.Status: the code 3 and a message.
STATUS = b"\x08\x03\x12\x0eno such tenant"


def failure(results: Results, url: str) -> str:
    with pytest.raises(ExportFailed) as failed:
        export_otlp(results, url, sleep=lambda _: None)
    sentence = str(failed.value)
    assert "\n" not in sentence and sentence.endswith((".", "?"))
    return sentence


def test_a_receiver_that_is_not_there_is_named(exported: Results) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        assert failure(exported, url).startswith(
            f"not exported to {url}: {url} cannot be reached (Connection refused); is a receiver"
        )


def test_a_receiver_that_does_not_answer_is_waited_for_so_long(
    exported: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "50")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "did not answer within 0.05 s" in failure(exported, f"http://127.0.0.1:{silent.getsockname()[1]}")


def hang_up(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.close()


def test_a_receiver_that_hangs_up_is_reported(exported: Results) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hangs_up = threading.Thread(target=hang_up, args=(listener,))
        hangs_up.start()
        assert "cannot be reached" in failure(exported, f"http://127.0.0.1:{listener.getsockname()[1]}")
        hangs_up.join()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(400, STATUS), "/v1/metrics rejected the data (400: no such tenant)."),
        (Answer(400, b"\xff\xff"), "/v1/metrics rejected the data (400)."),
        (Answer(413, b"too large\n\nat all", "text/plain"), "/v1/metrics rejected the data (413: too large)."),
        (Answer(401, b"", "text/plain"), " refused access (401); give credentials in OTEL_EXPORTER_OTLP_HEADERS."),
        (Answer(404, b"404 page not found", "text/plain"), "/v1/metrics is not there (404: 404 page not found)"),
        (Answer(500, b"<html>", "text/html"), "/v1/metrics rejected the data (500)."),
        (Answer(302, b"", "text/plain", {"Location": "http://127.0.0.1:1/"}), "/v1/metrics rejected the data (302)."),
        (Answer(200, b"\xff\xff"), " answered with something other than OTLP; is it a receiver of OTLP?"),
    ],
)
def test_a_refusal_is_one_sentence(exported: Results, receiver: Receiver, answer: Answer, said: str) -> None:
    receiver.answers.append(answer)
    assert said in failure(exported, receiver.url)
    assert len(receiver.paths) == 1


def test_a_failure_says_what_was_taken_before_it(exported: Results, receiver: Receiver) -> None:
    rows = [row | {"id": f"0-{place}"} for place, row in enumerate(rows_of(exported.folder)[:1] * 600)]
    write_csv(exported.folder / "requests.csv", REQUEST_COLUMNS, rows)
    receiver.answers += [Answer(), Answer(), Answer(400)]
    sentence = failure(exported, receiver.url)
    assert f"not exported to {receiver.url}, after it had taken " in sentence
    assert " data points and 512 spans: " in sentence


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_receiver_is_sent_the_same_again(exported: Results, receiver: Receiver, status: int) -> None:
    waited: list[float] = []
    receiver.answers += [Answer(status), Answer(status, headers={"Retry-After": "7"}), Answer()]
    export_otlp(exported, receiver.url, sleep=waited.append)
    assert waited == [1.0, 7.0]
    assert receiver.paths == ["/v1/metrics"] * 3 + ["/v1/traces"]
    assert len(receiver.points("tokenswarm.ttft")) == 2


def test_a_receiver_that_stays_busy_is_given_up(exported: Results, receiver: Receiver) -> None:
    waited: list[float] = []
    receiver.answers += [Answer(503, b"", "text/plain", {"Retry-After": "86400"})] * 9
    with pytest.raises(ExportFailed, match=r"rejected the data \(503\)"):
        export_otlp(exported, receiver.url, sleep=waited.append)
    assert waited == [30.0] * 4


def test_what_was_rejected_is_counted_over_all_messages(exported: Results, receiver: Receiver) -> None:
    receiver.answers += [rejecting(2, "out of order."), rejecting(5, "")]
    assert failure(exported, receiver.url) == (
        f"{receiver.url} rejected 7 of 24 data points and 130 spans, and took the others: out of order."
    )


def test_a_remark_of_the_receiver_is_shown(exported: Results, receiver: Receiver) -> None:
    receiver.answers.append(rejecting(0, "use a newer version"))
    assert export_otlp(exported, receiver.url).endswith("130 spans; it remarks: use a newer version)")


def test_a_success_in_text_is_one(exported: Results, receiver: Receiver) -> None:
    receiver.answers.append(Answer(200, b'{"partialSuccess":{}}', "application/json"))
    assert export_otlp(exported, receiver.url).endswith("(24 data points and 130 spans)")


def test_headers_come_from_the_environment_and_are_in_no_message(
    exported: Results, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret-of-mine, x-tenant = a")
    receiver.answers += [Answer(), Answer(400, b"not for Bearer s3cret-of-mine", "text/plain")]
    sentence = failure(exported, receiver.url)
    assert [headers["authorization"] for headers in receiver.headers] == ["Bearer s3cret-of-mine"] * 2
    assert receiver.headers[0]["x-tenant"] == "a"
    assert "s3cret" not in sentence


def test_a_certificate_of_an_own_authority_is_trusted_where_it_is_given(
    exported: Results, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with receiving(context) as receiver:
        url = receiver.url.replace("http:", "https:")
        assert "give the file of its authority in OTEL_EXPORTER_OTLP_CERTIFICATE" in failure(exported, url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
        assert export_otlp(exported, url).endswith("130 spans)")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "collector:4318",
            "ftp://collector",
            "http://",
            "http://collector:99999",
            "http://[",
            "",
            "file://collector/x",
        ),
        *("http://user:s3cret@collector", "http://collector?token=s3cret"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_what_it_hides(url: str) -> None:
    with pytest.raises(ReportError) as refused:
        parse_endpoint(url, {})
    assert "--to otlp" in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HEADERS", "s3cret"), ("HEADERS", "=s3cret"), ("HEADERS", "a=b%0As3cret"), ("TIMEOUT", "soon"), ("TIMEOUT", "0")],
)
def test_a_variable_that_cannot_be_used_is_named(variable: str, value: str) -> None:
    name = f"OTEL_EXPORTER_OTLP_{variable}"
    with pytest.raises(ReportError, match=name) as refused:
        parse_endpoint("http://collector:4318", {name: value})
    assert "s3cret" not in str(refused.value)


def test_the_extra_that_is_not_installed_is_named_with_its_command(
    exported: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_errors, "find_spec", lambda name: None)
    with pytest.raises(ReportError) as refused:
        export_otlp(exported, "http://127.0.0.1:1")
    assert str(refused.value) == (
        "--to otlp needs the extra opentelemetry of Tokenswarm, which is not installed: "
        "pip install '.[opentelemetry]' in Tokenswarm's folder."
    )


@pytest.mark.parametrize("wrong", [("otlp", "collector"), ("mlflow", "s3://bucket"), ("csv", "x")])
def test_the_command_refuses_a_wrong_place_before_it_reads_the_folder(wrong: tuple[str, str], tmp_path: Path) -> None:
    ended = run_command("report", str(tmp_path / "none"), "--to", *wrong)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "--to" in ended.stderr and f"; it was {wrong[wrong[0] != 'csv']}." in ended.stderr
