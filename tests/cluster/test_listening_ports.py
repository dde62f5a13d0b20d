"""Which ports a process listens on: none twice, and only those that were not given are replaced."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tests.option_parser import parser_of_all_options
from tests.runs.harness import free_port
from tokenswarm.cluster.listening_ports import PortError, choose_ports
from tokenswarm.cluster.master_port import MasterPortError, check_master_address, check_master_port
from tokenswarm.command_line import Given, read_options, sentences_of
from tokenswarm.recording.prometheus import LiveRun
from tokenswarm.recording.recording_options import RecordingOptions
from tokenswarm.run_control.metrics_endpoint import MetricsEndpoint


def given(*words: str) -> Given:
    parser = parser_of_all_options()
    parser.set_defaults(web_host="127.0.0.1")
    return read_options(parser, [*words])


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        while True:
            port = free_port()
            listener.bind(("127.0.0.1", port))
            listener.listen()
            break
        yield port


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--web-port", "{}", "--metrics-port", "{}"], ["--web-port", "--metrics-port"]),
        (["--web-port", "{}", "--metrics-port", "{}", "--metrics-host", "0.0.0.0"], ["--web-port", "--metrics-port"]),
        (["--master", "--master-bind-port", "{}", "--web-port", "{}"], ["--master-bind-port", "--web-port"]),
        (
            ["--headless", "--processes", "2", "--master-bind-port", "{}", "--metrics-port", "{}"],
            ["--master-bind-port", "--metrics-port"],
        ),
    ],
)
def test_a_port_that_was_given_twice_is_one_error_that_names_both_options(words: list[str], options: list[str]) -> None:
    port = str(free_port())
    with pytest.raises(PortError) as refused:
        choose_ports(given(*(word.format(port) for word in words)))
    assert all(word in str(refused.value) for word in [port, *options])


def test_two_addresses_of_this_machine_may_have_the_same_port() -> None:
    port = str(free_port())
    choose_ports(given("--web-port", port, "--metrics-port", port, "--metrics-host", "127.0.0.2"))


def test_metrics_leave_a_given_port_to_the_page_and_the_page_to_the_metrics() -> None:
    read = given("--web-port", "9646")
    notices = choose_ports_of(read)
    assert read.options.web_port == 9646
    assert read.options.metrics_port == 9647
    assert any("9647" in notice for notice in notices)
    read = given("--metrics-port", "8089")
    choose_ports_of(read)
    assert read.options.metrics_port == 8089
    assert read.options.web_port > 8089


def choose_ports_of(read: Given) -> list[str]:
    """Another Tokenswarm on the machine of this test may have a port that was given."""
    try:
        return choose_ports(read)
    except PortError as error:
        pytest.skip(str(error))


def test_metrics_whose_port_is_taken_do_not_take_the_pages(taken: int) -> None:
    options = RecordingOptions.of(given("--metrics-port", str(taken)).options)
    endpoint = MetricsEndpoint(LiveRun(), options, port_given=False, avoid=[taken + 1])
    assert endpoint.port > taken + 1
    endpoint.stop()


@pytest.mark.parametrize(
    ("words", "named", "not_named"),
    [
        (["--processes", "2", "--master-bind-port", "{}"], ["--master-bind-port"], ["--master-port"]),
        (["--processes", "2", "--master-port", "{}"], ["--master-port"], ["--master-bind-port"]),
        (["--master", "--master-bind-port", "{}"], ["--master-bind-port", "--master-port"], []),
    ],
)
def test_a_taken_port_for_workers_names_the_options_that_choose_another(
    taken: int, words: list[str], named: list[str], not_named: list[str]
) -> None:
    with pytest.raises(ValueError, match=str(taken)) as refused:
        choose_ports(given("--headless", "--master-bind-host", "127.0.0.1", *(word.format(taken) for word in words)))
    advice = str(refused.value).partition("Choose another port")[2]
    assert [option for option in named if option not in advice] == []
    assert [option for option in not_named if option in advice] == []


@pytest.mark.parametrize(
    "words",
    [
        ["--web-port", "abc"],
        ["--headless", "--metrics-port", "abc"],
        ["--headless", "--master", "--master-bind-port", "abc"],
        ["--headless", "--processes", "2", "--master-bind-port", "abc"],
    ],
    ids=" ".join,
)
def test_a_port_that_cannot_be_read_is_not_said_to_be_taken_at_its_default(taken: int, words: list[str]) -> None:
    parser = parser_of_all_options()
    loopback = dict.fromkeys(("web_host", "metrics_host", "master_bind_host"), "127.0.0.1")
    parser.set_defaults(**loopback, web_port=taken, metrics_port=taken, master_bind_port=taken)
    read = read_options(parser, words)
    assert read.errors == [f"{words[-2]} takes a whole number, got 'abc'."]
    choose_ports(read)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--headless", "--metrics-host"], "--metrics-host"),
        (["--metrics-port", "19646", "--web-port", "{}", "--metrics-host"], "--metrics-host"),
        (["--metrics-port", "0", "--web-host"], "--web-host"),
        (["--headless", "--metrics-port", "0", "--master", "--master-bind-host"], "--master-bind-host"),
    ],
)
@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("192.0.2.1", "Cannot assign requested address"),
        ("no such", "Name or service not known"),
        ("a" * 70, "Name or service not known"),
    ],
)
def test_an_address_of_another_machine_is_one_error_and_no_port_is_said_to_help(
    words: list[str], option: str, host: str, why: str
) -> None:
    with pytest.raises(ValueError, match="is no address on which this machine can ") as refused:
        choose_ports(given(*(word.format(free_port()) for word in words), host))
    (sentence,) = sentences_of(refused.value)
    assert sentence.startswith(f"{option} {host} ") and f"({why})" in sentence
    assert "port" not in sentence


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--metrics-port", "0", "--web-port"], "--web-port"),
        (["--headless", "--metrics-port"], "--metrics-port"),
        (["--headless", "--metrics-port", "0", "--master", "--master-bind-port"], "--master-bind-port"),
        (["--headless", "--metrics-port", "0", "--processes", "2", "--master-bind-port"], "--master-bind-port"),
        (["--headless", "--metrics-port", "0", "--processes", "2", "--master-port"], "--master-port"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("port", ["99999", "65536", "-5", "0"])
def test_a_number_that_is_no_port_is_one_error_that_names_its_option_and_the_number(
    words: list[str], option: str, port: str
) -> None:
    if (option, port) == ("--metrics-port", "0"):
        pytest.skip("serves no metrics")
    read = given(*words, port)
    with pytest.raises(ValueError, match=f"^{option} takes a port from 1 to 65535.* got {port}\\.$"):
        _ = choose_ports(read), RecordingOptions.of(read.options)


@pytest.mark.parametrize(
    ("host", "port", "named"),
    [
        ("127.0.0.1", 99999, "99999"),
        ("127.0.0.1", -4, "-4"),
        ("127.0.0.1", 0, "0"),
        ("http://10.0.0.5", 5557, "http://10.0.0.5"),
        ("10.0.0.5:5557", 5557, "10.0.0.5:5557"),
        ("a b", 5557, "a b"),
        ("-x", 5557, "-x"),
    ],
)
def test_a_worker_is_refused_a_master_that_no_machine_can_be(host: str, port: int, named: str) -> None:
    with pytest.raises(MasterPortError, match="--master-(host|port) takes ") as refused:
        check_master_address(host, port)
    assert named in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "tokenswarm-master.load", "a_b"])
def test_a_worker_takes_names_and_addresses(host: str) -> None:
    check_master_address(host, 5557)


@pytest.mark.parametrize(
    "words",
    [
        ["--headless", "--metrics-port", "81"],
        ["--metrics-port", "0", "--web-port", "81"],
        ["--headless", "--metrics-port", "0", "--master", "--master-bind-port", "81"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(("number", "is_other"), [(errno.EACCES, False), (errno.EADDRINUSE, True)])
def test_a_port_that_is_not_permitted_is_not_said_to_be_anothers(
    words: list[str], number: int, is_other: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(listener: socket.socket, address: tuple[str, int]) -> None:
        if address[1]:
            raise OSError(number, os.strerror(number))

    check_master_port.cache_clear()
    monkeypatch.setattr(socket, "socket", type("Socket", (socket.socket,), {"bind": bind, "listen": lambda *_: None}))
    with pytest.raises(ValueError, match="81") as refused:
        choose_ports(given("--master-bind-host", "127.0.0.1", *words))
    check_master_port.cache_clear()
    assert os.strerror(number) in str(refused.value)
    assert ("may be running" in str(refused.value)) is (is_other and "--web-port" not in words)
