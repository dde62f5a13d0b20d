"""The shape's options, through Locust's own parser."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from math import inf

import pytest
from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

import tokenswarm.client.request_options
import tokenswarm.recording.recording_options
from tokenswarm.command_line import OptionErrors, TimespanError, read_options, sentences_of
from tokenswarm.shapes.plan import PlanError
from tokenswarm.shapes.shape_options import add_options, check_conflicts, choose_shape, load_plan_of

Parse = Callable[..., Namespace]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """As Locust reads its command line, this room's options beside its own; --run-time comes in seconds from there."""
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    add_options(parser)

    def parsed(*arguments: str) -> Namespace:
        options = parser.parse_args(list(arguments))
        if options.run_time is not None:
            options.run_time = int(options.run_time)
        choose_shape(options)
        return options

    return parsed


def levels_of(options: Namespace) -> list[tuple[str, int, float, float]]:
    return [
        (level.system_prompt, level.users, level.ramp_s, level.level_time_s) for level in load_plan_of(options).levels
    ]


def pauses_of(options: Namespace) -> tuple[float, float]:
    plan = load_plan_of(options)
    return plan.drain_s, plan.settle_s


def test_a_short_level_can_be_told_in_milliseconds(parse: Parse) -> None:
    options = parse("--ramp", "500ms", "--level-time", "1s500ms", "--drain-timeout", "250ms", "--settle", "0ms")
    assert [(ramp_s, level_s) for _, _, ramp_s, level_s in levels_of(options)] == [(0.5, 1.5)] * 6
    assert pauses_of(options) == (0.25, 0.0)


def test_without_options_the_plan_is_the_articles(parse: Parse) -> None:
    assert levels_of(parse()) == [(mode, users, 20.0, 300.0) for mode in ("off", "on") for users in (10, 50, 100)]
    assert pauses_of(parse()) == (600.0, 5.0)


def test_the_ladders_options_make_the_plan(parse: Parse) -> None:
    options = parse("--levels", "2,4", "--ramp", "1s", "--level-time", "1m30s", "--system-prompt", "on")
    assert levels_of(options) == [("on", 2, 1.0, 90.0), ("on", 4, 1.0, 90.0)]


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (["-u", "40"], ("off", 40, 20.0, inf)),
        (["-u", "40", "-r", "4"], ("off", 40, 10.0, inf)),
        (["-u", "40", "--ramp", "8s"], ("off", 40, 8.0, inf)),
        (["-u", "40", "-t", "90"], ("off", 40, 20.0, 90.0)),
        (["-u", "40", "-t", "30"], ("off", 40, 10.0, 30.0)),  # a third of a short run at most
        (["-u", "40", "--ramp", "0"], ("off", 40, 1.0, inf)),
        (["-r", "2"], ("off", 1, 0.5, inf)),
        (["-t", "60"], ("off", 1, 20.0, 60.0)),
        (["-u", "4", "--system-prompt", "on"], ("on", 4, 20.0, inf)),
        (["--shape", "free"], ("off", 1, 1.0, inf)),
    ],
)
def test_users_rate_or_run_time_on_the_command_line_choose_the_free_shape(
    arguments: list[str], level: tuple[str, int, float, float], parse: Parse
) -> None:
    options = parse(*arguments)
    assert options.shape == "free"
    assert levels_of(options) == [level]


def test_the_web_form_chooses_a_shape_by_its_own_field(parse: Parse) -> None:
    """It fills in users and rate whatever the shape: they count only for the free one."""
    options = parse()
    options.num_users, options.spawn_rate, options.levels = 7, 7.0, "3"
    assert [users for _, users, _, _ in levels_of(options)] == [3, 3]
    options.shape = "free"
    assert levels_of(options) == [("off", 7, 1.0, inf)]


def test_a_spawn_rate_of_nothing_from_the_web_form_is_refused(parse: Parse) -> None:
    """On the command line Locust refuses it itself."""
    options = parse()
    options.shape, options.num_users, options.spawn_rate = "free", 7, 0.0
    with pytest.raises(PlanError, match="--spawn-rate must be more than 0 users a second, got 0"):
        load_plan_of(options)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-u", "0"], "--users takes 1 to 1,000,000 users, got 0."),
        (["--levels", "ten"], "--levels takes numbers of users like 10,50,100, got 'ten'."),
        (["--ramp", "soon"], "--ramp takes a time like 500ms, 20s, 5m or 1h30m, got 'soon'."),
        (["--level-time", "soon"], "--level-time takes a time like 500ms, 20s, 5m or 1h30m, got 'soon'."),
        (["--level-time", "5s"], "--level-time (5s) must be longer than --ramp (20s): a level holds after its ramp."),
        (["-u", "5", "--ramp", "soon"], "--ramp takes a time like 500ms, 20s, 5m or 1h30m, got 'soon'."),
    ],
)
def test_options_that_make_no_plan_are_refused_in_a_sentence(arguments: list[str], sentence: str, parse: Parse) -> None:
    with pytest.raises((PlanError, TimespanError)) as refused:
        load_plan_of(parse(*arguments))
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--drain-timeout", "0"], "--drain-timeout takes a time above 0 like 500ms, 20s, 5m or 1h30m, got '0'."),
        (["--drain-timeout", "x"], "--drain-timeout takes a time above 0 like 500ms, 20s, 5m or 1h30m, got 'x'."),
        (["--settle", "x"], "--settle takes a time like 500ms, 20s, 5m or 1h30m, got 'x'."),
    ],
)
def test_pauses_that_make_no_sense_are_refused_in_a_sentence(arguments: list[str], sentence: str, parse: Parse) -> None:
    with pytest.raises(TimespanError) as refused:
        pauses_of(parse(*arguments))
    assert str(refused.value) == sentence


def test_no_option_has_a_default_or_a_name_that_the_web_form_would_lose(parse: Parse) -> None:
    """Locust's form drops names with digits, and returns a default of None as text."""
    own = set(vars(parse())) & {"shape", "levels", "ramp", "level_time", "system_prompt", "drain_timeout", "settle"}
    assert len(own) == 7
    for name in own:
        assert isinstance(getattr(parse(), name), str)
        assert not any(character.isdigit() for character in name)


def test_options_can_be_given_in_the_environment(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENSWARM_LEVELS", "3,6")
    monkeypatch.setenv("TOKENSWARM_SYSTEM_PROMPT", "off")
    assert [users for _, users, _, _ in levels_of(parse())] == [3, 6]


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (["--levels", "10", "-u", "5"], ["--levels"]),
        (["--levels", "10", "-r", "5"], ["--levels"]),
        (["--level-time", "20s", "-t", "5m"], ["--level-time"]),
        (["--levels", "10", "--level-time", "20s", "-u", "5"], ["--levels", "--level-time"]),
        (["--shape", "ladder", "-u", "5"], ["--shape"]),
        (["--shape", "free", "--levels", "10"], ["--levels"]),
        (["--ramp", "5s", "-u", "5", "-r", "1"], ["--ramp"]),
        (["--shape", "free", "--ramp", "5s"], ["--ramp"]),
        (["--system-prompt", "off", "--system-prompt-file", "own.txt"], ["--system-prompt-file"]),
        (["-u", "5", "--system-prompt-file", "own.txt"], ["--system-prompt-file"]),
        (["--class-picker"], ["--class-picker:"]),
        (["-u", "5", "--ramp", "5s", "-t", "1m"], []),
        (["--shape", "free", "-u", "5", "--ramp", "5s"], []),
        (["--levels", "10", "--ramp", "5s", "--level-time", "20s", "--shape", "ladder"], []),
        (["-u", "5", "--system-prompt", "on", "--system-prompt-file", "own.txt"], []),
    ],
)
def test_options_of_which_one_would_be_ignored_are_refused(arguments: list[str], refused: list[str]) -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    add_options(parser)
    parser.add_argument("--system-prompt-file", default="")
    given = read_options(parser, arguments)
    assert not given.errors
    try:
        check_conflicts(given.options, given.sources)
        sentences = []
    except ValueError as error:
        sentences = sentences_of(error)
    assert [sentence.split()[0] for sentence in sentences] == refused


def test_the_help_of_every_time_says_what_a_number_alone_is(parse: Parse) -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    for options in (tokenswarm.client.request_options, tokenswarm.recording.recording_options):
        options.add_options(parser)
    add_options(parser)
    times = [action for action in parser._actions if re.fullmatch(r"\d+[smh]", str(action.default))]
    assert len(times) >= 10
    assert [action.dest for action in times if "a number alone is seconds" not in action.help] == []
    assert levels_of(parse("--ramp", "2", "--level-time", "30"))[0][2:] == (2.0, 30.0)


def test_every_wrong_time_of_a_ladder_is_told(parse: Parse) -> None:
    with pytest.raises(OptionErrors) as wrong:
        load_plan_of(parse("--levels", "ten", "--ramp", "x", "--level-time", "y"))
    assert [sentence.split()[0] for sentence in wrong.value.sentences] == ["--levels", "--ramp", "--level-time"]


def test_a_class_picker_is_refused_for_a_locustfile_s_own_classes_too() -> None:
    parser = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(parser)
    add_options(parser)
    given = read_options(parser, ["--class-picker"])
    with pytest.raises(ValueError, match="locustfile"):
        check_conflicts(given.options, given.sources)
