"""Headers of the user's own: what is sent, and what is left where others can see it."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from locust.argument_parser import get_empty_argument_parser

from tokenswarm.client import custom_headers as module
from tokenswarm.client.custom_headers import custom_headers, keep_values, with_headers
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, add_options
from tokenswarm.engines import ENGINES
from tokenswarm.sanitize import server_text, shown
from tokenswarm.wire import Origin

VALUE = "acme-7c1f2b9d"


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_given", {})


@pytest.fixture
def given() -> Callable[..., Namespace]:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)

    def parsed(*headers: str) -> Namespace:
        words = [word for header in headers for word in ("--header", header)]
        options: Namespace = parser.parse_args(words)
        keep_values(options)
        return options

    return parsed


def test_options_hold_names_and_variables_and_requests_the_values(
    given: Callable[..., Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SECRET", "from-environment")
    options = given(
        f"X-Tenant:  {VALUE} ", "Authorization: Bearer $GATEWAY_SECRET", "X-Cost: 5$$", "X-A: a${GATEWAY_SECRET}"
    )
    message = msgspec.msgpack.encode(vars(options))
    assert VALUE.encode() not in message
    assert options.header == ["X-Tenant", "Authorization: Bearer $GATEWAY_SECRET", "X-Cost", "X-A"]
    assert custom_headers(options.header, None) == {
        "X-Tenant": VALUE,
        "Authorization": "Bearer from-environment",
        "X-Cost": "5$",
        "X-A": "afrom-environment",
    }


def test_a_value_is_cut_out_of_all_that_is_shown(given: Callable[..., Namespace]) -> None:
    given(f"X-Tenant: {VALUE}", "X-Api-Key: Token k-12345678", "X-Region: eu1")
    for text in (f"no tenant {VALUE.upper()}", "bad key k-12345678"):
        assert "[secret]" in server_text(text, 500)
        assert "[secret]" in shown(text)
    assert server_text("tenant acme of eu1", 500) == "tenant acme of eu1"


def test_what_another_option_has_is_no_secret() -> None:
    options = Namespace(model="served-model-9", header=["X-Model: served-model-9"])
    keep_values(options)
    assert shown("served-model-9") == "served-model-9"


def test_a_file_has_a_header_a_line_and_the_command_line_goes_first(
    given: Callable[..., Namespace], tmp_path: Path
) -> None:
    file = tmp_path / "headers"
    file.write_text("# of the gateway\n\nX-Tenant: other\nX-Route: blue\n")
    options = given(f"x-tenant: {VALUE}")
    assert custom_headers(options.header, str(file)) == {"x-tenant": VALUE, "X-Route": "blue"}
    file.write_text("X-Signature: of-the-file-0123\n")
    custom_headers([], str(file))
    assert shown("signed of-the-file-0123") == "signed [secret]"
    file.write_text("# none as yet\n")
    assert custom_headers([], str(file)) == {}


def test_a_file_of_headers_that_is_empty_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "headers").write_text("")
    with pytest.raises(OptionError, match=r"--header-file: the file \S+ is empty"):
        custom_headers([], str(file))


@pytest.mark.parametrize(
    "header",
    [
        "s3cret-value",
        "s3cret value: x",
        "Content-Length: s3cret",
        "X-Tenant:",
        "X-Tenant: s3cret\x07",
        "X: $NOT_SET s3cret",
    ],
)
def test_a_header_that_cannot_be_is_refused_without_its_value(given: Callable[..., Namespace], header: str) -> None:
    with pytest.raises(OptionError) as refused:
        custom_headers(given(header).header, None)
    assert "s3cret" not in str(refused.value)


def test_a_worker_without_the_value_says_what_to_do() -> None:
    with pytest.raises(OptionError, match="--header X-Tenant: this process has no value"):
        custom_headers(["X-Tenant"], None)


def test_headers_replace_those_of_the_same_name_in_any_case() -> None:
    assert with_headers({"Authorization": "Bearer a", "B": "b"}, {"authorization": "c"}) == {
        "B": "b",
        "authorization": "c",
    }


def test_no_server_gets_them_that_may_not_have_the_key(given: Callable[..., Namespace]) -> None:
    options = ChatOptions.of(given(f"X-Tenant: {VALUE}"))
    server, other = Origin.parse("http://gpu:8000"), Origin.parse("http://elsewhere:8000")
    named = replace(options, key_servers=(server.root,))
    assert named.headers_for(server, ENGINES["vllm"]) == {"X-Tenant": VALUE}
    assert named.headers_for(other, ENGINES["vllm"]) == {}


ROOT = Path(__file__).resolve().parents[2]
SHOW = "Path('/proc/self/cmdline').read_text().replace('\\0', ' ')"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say where arguments are")
@pytest.mark.parametrize("space", ["", "  "])
def test_the_process_title_shows_no_value(space: str) -> None:
    code = (
        "import sys; from argparse import Namespace; from pathlib import Path\n"
        "from tokenswarm.client.custom_headers import keep_values\n"
        f"keep_values(Namespace(header=[sys.argv[2]]))\nprint({SHOW})"
    )
    command = [sys.executable, "-c", code, "--header", f"X-Tenant: {VALUE}{space}", "--other"]
    shown_arguments = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"X-Tenant: {'x' * len(VALUE + space)} --other" in shown_arguments


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say where arguments are")
def test_the_process_title_shows_no_value_when_the_locustfile_has_begun() -> None:
    """Before Locust, the first that takes time, is imported from it."""
    code = (
        "import runpy, sys; from pathlib import Path\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'locust': print({SHOW}); sys.exit()\n"
        "sys.meta_path.insert(0, Stop()); runpy.run_path('locustfile.py')"
    )
    words = [
        "--header",
        f"X-Tenant: {VALUE}",
        f"--header=X-Key:{VALUE}",
        "--proxy",
        f"http://me:{VALUE}@gw:1",
        "-u",
        "1",
    ]
    shown_arguments = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert VALUE not in shown_arguments
    assert (
        f"--header X-Tenant: {'x' * len(VALUE)} --header=X-Key:{'x' * len(VALUE)} --proxy http://xxx" in shown_arguments
    )
    assert "-u 1" in shown_arguments
