"""The form: every option once, and what comes back of it as Locust will take it."""

from __future__ import annotations

from argparse import Namespace

import pytest

from page.form import FormError, Option, given, groups

OPTIONS = [
    Option("engine", "auto", "what answers", ["auto", "vllm"]),
    Option("levels", "10,50", "users of each level"),
    Option("ignore_eos", False, "go on"),
    Option("max_tokens", 512, "longest answer"),
    Option("anything_new", "x", "an option that no group names"),
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
    assert fields["levels"].only_with == "ladder"
    assert fields["max_tokens"].value == "512"
    assert fields["ignore_eos"].value is False


def test_what_comes_back_has_the_types_that_it_went_with_and_changes_nothing_by_itself() -> None:
    options = Namespace(levels="10", max_tokens=512, ignore_eos=False, other=None)
    changed = given({"levels": "2,3", "max_tokens": "16", "ignore_eos": "true", "unknown": "x"}, options)
    assert vars(changed) == {"levels": "2,3", "max_tokens": 16, "ignore_eos": True, "other": None}
    assert options.max_tokens == 512


def test_a_word_where_a_number_is_due_is_told() -> None:
    with pytest.raises(FormError, match="--max-tokens takes a whole number, got 'many'."):
        given({"max_tokens": "many"}, Namespace(max_tokens=512))
