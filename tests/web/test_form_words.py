"""Sentences about options, as the form shows them."""

from __future__ import annotations

import pytest

from tokenswarm.web.form_words import StartError, in_form_words, start_errors

LABELS = {"levels": "Levels", "slo": "SLO", "user_count": "Users", "prompts": "Prompts", "fail_if": "Fail if"}


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("--levels takes numbers.", "“Levels” takes numbers."),
        ("--users and --levels were both changed.", "“Users” and “Levels” were both changed."),
        ("give --slo, like --slo ttft=500ms.", "give “SLO”, like ttft=500ms."),
        ("files in folders of --web-allow-folder", "files in folders of --web-allow-folder"),
        ("add --levels-of-nobody", "add --levels-of-nobody"),
        ("--fail-if: no such figure\n  --levels\n  ^", "“Fail if”: no such figure\n  --levels\n  ^"),
    ],
)
def test_options_of_the_form_have_its_labels_and_others_stay(sentence: str, words: str) -> None:
    assert in_form_words(sentence, LABELS) == words


@pytest.mark.parametrize(
    ("sentence", "field"),
    [
        ("--levels takes numbers.", "levels"),
        ("Start with --web-allow-target, or change --users.", "user_count"),
        ("prompts from 'x.csv': no such file; see --levels.", "prompts"),
        ("the server cannot be reached", ""),  # this form has no host
        ("A run is already in progress. Stop it first.", ""),
        ("HTTP 401: set the variable LLM_API_KEY. (--slo is an option of this form.)", ""),
    ],
)
def test_an_error_is_of_the_field_that_it_names_first(sentence: str, field: str) -> None:
    (error,) = start_errors([sentence], LABELS)
    assert isinstance(error, StartError)
    assert error.field == field


def test_what_belongs_to_the_command_is_set_where_tokenswarm_starts() -> None:
    words = in_form_words("The key is missing: set the variable LLM_API_KEY, or use --header", LABELS)
    assert words.count("LLM_API_KEY") == words.count("--header") == 2
    assert "the command that starts Tokenswarm" in words
    withheld = "LLM_API_KEY is not sent: start Tokenswarm with --web-allow-target"
    assert in_form_words(withheld, LABELS) == withheld


def test_another_engine_is_an_error_of_the_field_engine_whose_choice_is_auto() -> None:
    text = (
        "the server at H refuses: check --host. --engine tgi was given, but the server looks like vllm: leave it out."
    )
    (error,) = start_errors([text], LABELS | {"host": "Host", "engine": "Engine"})
    assert error.field == "engine"
    assert error.text.endswith("“Engine” tgi was given, but the server looks like vllm: choose auto.")
