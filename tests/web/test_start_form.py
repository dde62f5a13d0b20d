"""The form: every option once, and what comes back of it as Locust will take it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

import pytest
from locust import events

from tests.web.conftest import Site
from tokenswarm.command_line import collect_errors
from tokenswarm.web.start_form import FormError, FormOption, given, groups

OPTIONS = [
    FormOption("engine", "auto", "what answers", ["auto", "vllm"]),
    FormOption("levels", "10,50", "users of each level"),
    FormOption("ignore_eos", False, "go on"),
    FormOption("max_tokens", 512, "longest answer"),
    FormOption("anything_new", "x", "an option that no group names"),
]


def test_every_option_is_in_one_group_and_a_new_one_under_the_rest() -> None:
    names = {group.title: [field.name for field in group.fields] for group in groups(OPTIONS)}
    assert sorted(name for each in names.values() for name in each) == sorted(option.name for option in OPTIONS)
    assert names["More options"] == ["anything_new"]
    assert [group.title for group in groups(OPTIONS) if group.folded] == ["More options"]


def test_a_field_is_of_its_options_kind() -> None:
    fields = {field.name: field for group in groups(OPTIONS) for field in group.fields}
    assert {name: field.kind for name, field in fields.items()} == {
        "engine": "choice",
        "levels": "text",
        "ignore_eos": "check",
        "max_tokens": "number",
        "anything_new": "text",
    }
    assert fields["levels"].only_with == ("ladder",)
    assert fields["max_tokens"].value == "512"
    assert fields["ignore_eos"].value is False


def test_what_comes_back_has_the_types_that_it_went_with_and_changes_nothing_by_itself() -> None:
    options = Namespace(levels="10", max_tokens=512, ignore_eos=False, other=None)
    with collect_errors() as errors:
        changed = given({"levels": "2,3", "max_tokens": "16", "ignore_eos": "true", "unknown": "x"}, options, errors)
    assert vars(changed) == {"levels": "2,3", "max_tokens": 16, "ignore_eos": True, "other": None}
    assert options.max_tokens == 512


def test_a_word_in_place_of_a_number_is_refused() -> None:
    with pytest.raises(FormError, match="--max-tokens takes a whole number, got 'many'."), collect_errors() as errors:
        given({"max_tokens": "many"}, Namespace(max_tokens=512), errors)


def test_a_percent_sign_in_the_help_of_another_locustfile_s_option_is_one(make_site: Callable[..., Site]) -> None:
    def add_option(parser: ArgumentParser, **_: Any) -> None:
        parser.add_argument("--portion", default="", help="a share, like 1%%")

    events.init_command_line_parser.add_listener(add_option)
    try:
        text = make_site().client().get("/tokenswarm/form.json").get_data(as_text=True)
    finally:
        events.init_command_line_parser.remove_listener(add_option)
    assert "A share, like 1%" in text
    assert "%%" not in text
