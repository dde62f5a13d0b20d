"""How a help text becomes a cell of docs/options.md."""

from __future__ import annotations

import pytest
from locust.argument_parser import get_empty_argument_parser

from tests.options_page import formatted, tables, updated
from tokenswarm.client.request_options import add_options
from tokenswarm.command_line import OptionAdder
from tokenswarm.run_command import option_groups


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a user's next one; --think-time and -u", "a user's next one; `--think-time` and `-u`"),
        ("well-known server-side names", "well-known server-side names"),
        ("how (docs/load.md#think-time); empty: none", "how ([load.md](load.md#think-time)); empty: none"),
        ("how (docs/how-to/kubernetes.md)", "how ([how-to/kubernetes.md](how-to/kubernetes.md))"),
        ("a store (docs/options.md#results-in-a-store)", "a store ([below](#results-in-a-store))"),
        ('like "p95(ttft) > 500ms, rate < 1"', "like `p95(ttft) > 500ms, rate < 1`"),
        ("n(6,2), u(1s,3s) or D(100,1000)", "`n(6,2)`, `u(1s,3s)` or `D(100,1000)`"),
        ("gamma:SHAPE, auto: found; http://gpu:8000; none", "`gamma:SHAPE`, auto: found; `http://gpu:8000`; none"),
        ("LLM_API_KEY in run.json, a PEM file", "`LLM_API_KEY` in `run.json`, a PEM file"),
    ],
)
def test_code_is_in_backticks_and_documents_are_links(text: str, markdown: str) -> None:
    assert formatted(text) == markdown


def test_a_row_has_names_values_default_variable_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    option = OptionAdder(parser)
    option("--pace", "a|b", default="1s", metavar="TIME|off", aliases=["--speed"])
    option("--mode", "how", choices=["x", "y"])
    option.switch("--fast", "soon")
    parser.add_argument("--of-locust")
    group = option_groups.OptionGroup("One", ("--pace", "--mode", "--of-locust", "--fast"))
    monkeypatch.setattr("tests.options_page.GROUPS", (group,))
    monkeypatch.setattr("tests.options_page.PAGE", option_groups.OptionGroup("Two", ("--of-locust",)))
    assert tables(parser).splitlines() == [
        "### One",
        "",
        "| option | default | variable | |",
        "|---|---|---|---|",
        r"| `--pace`, `--speed` TIME\|off | `1s` | `TOKENSWARM_PACE` | a\|b |",
        r"| `--mode` x\|y | empty | `TOKENSWARM_MODE` | how |",
        "| `--fast` | off | `TOKENSWARM_FAST` | soon |",
        "",
        "Locust's own: `--of-locust`.",
        "",
        "### Two",
        "",
        "Locust's own: `--of-locust`.",
    ]
    document = "a\n<!-- options -->\nold\n<!-- end -->\nb"
    assert updated(document, parser) == document.replace("old\n", f"\n{tables(parser)}\n\n")


def test_many_choices_are_left_to_another_document(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)
    monkeypatch.setattr("tests.options_page.GROUPS", (option_groups.OptionGroup("One", ("--engine",)),))
    monkeypatch.setattr("tests.options_page.PAGE", option_groups.OptionGroup("Two", ()))
    assert "| `--engine` NAME | `auto` |" in tables(parser)
