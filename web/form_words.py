"""Sentences about options in the words of the start form: its labels instead of the command line's options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from tokenswarm.sanitize import API_KEY_VARIABLE

#: Options whose fields have another name: Locust's own.
OTHER_NAMES = {"users": "user_count", "num_users": "user_count"}
_OPTION = re.compile(r"(?<![\w-])(?P<example>(?:like|such as) )?--(?P<name>[a-z][a-z-]*[a-z])(?P<space> ?)")
_ENGINE_GIVEN = re.compile(r"(--engine \S+ was given, but the server looks like [^:]+: )leave it out")
#: What only the command has that starts Tokenswarm, and words of sentences that say so already.
_OF_THE_COMMAND, _SAID = (API_KEY_VARIABLE, "--header"), "start Tokenswarm"
#: How sentences begin that are about an option's value and do not name the option.
_BEGINNINGS = {
    "prompts from ": "prompts",
    "tokenizer ": "tokenizer",
    "system prompt file ": "system_prompt_file",
    "the chat template ": "chat_template",
    "the server cannot be reached": "host",
}


class StartError(msgspec.Struct, frozen=True):
    """A reason why a run was not started. field: the name of the form's field that it is about, "" where it is about
    none; text: one sentence in the form's words, of several lines where a place in the value is marked."""

    field: str
    text: str


def in_form_words(text: str, labels: Mapping[str, str]) -> str:
    """The text with the label in quotation marks in place of each option that the form has. labels: by field name.
    An example such as `like --slo ttft=500ms` keeps the value alone."""

    def in_words(found: re.Match[str]) -> str:
        label = labels.get(_field(found["name"]))
        if label is None:
            return found[0]
        if found["example"] and found["space"]:
            return found["example"]
        return f"{found['example'] or ''}“{label}”{found['space']}"

    # The lines below the first show what was typed.
    head, line_end, marked = text.partition("\n")
    if "engine" in labels:
        head = _ENGINE_GIVEN.sub(r"\g<1>choose auto", head)
    return f"{_OPTION.sub(in_words, head)}{_of_the_command(head)}{line_end}{marked}"


def _of_the_command(sentence: str) -> str:
    """A further sentence where this one advises to set what no form has."""
    if API_KEY_VARIABLE not in sentence or _SAID in sentence:
        return ""
    named = [name for name in _OF_THE_COMMAND if name in sentence]
    verb, them = ("belongs", "it") if len(named) == 1 else ("belong", "them")
    return (
        f" {' and '.join(named)} {verb} to the command that starts Tokenswarm: set {them} there, then start it again."
    )


def start_errors(sentences: Sequence[str], labels: Mapping[str, str]) -> list[StartError]:
    """Each sentence with the field that it is about: that of the first option it names, none where it
    is about the API key."""
    return [StartError(_field_of(sentence, labels), in_form_words(sentence, labels)) for sentence in sentences]


def _field_of(sentence: str, labels: Mapping[str, str]) -> str:
    if API_KEY_VARIABLE in sentence:  # no field has the key
        return ""
    if _ENGINE_GIVEN.search(sentence) and "engine" in labels:
        return "engine"
    of_beginning = next((field for words, field in _BEGINNINGS.items() if sentence.startswith(words)), "")
    named = [of_beginning, *(_field(found["name"]) for found in _OPTION.finditer(sentence.partition("\n")[0]))]
    return next((field for field in named if field in labels), "")


def _field(option: str) -> str:
    name = option.replace("-", "_")
    return OTHER_NAMES.get(name, name)
