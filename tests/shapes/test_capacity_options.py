"""The options of a capacity search, through Locust's own parser: what they plan, and what excludes what."""

from __future__ import annotations

import pytest

from tests.option_parser import parser_of_all_options
from tokenswarm.command_line import OptionErrors, read_options
from tokenswarm.metrics.level import users_of
from tokenswarm.shapes.plan import LoadPlan, PlanError, SearchPlan
from tokenswarm.shapes.shape_options import check_conflicts, choose_shape, load_plan_of


def plan(*arguments: str) -> LoadPlan:
    """Raises PlanError, OptionErrors."""
    given = read_options(parser_of_all_options(), ["--headless", *arguments])
    assert not given.errors
    check_conflicts(given.options, given.sources)
    choose_shape(given.options)
    return load_plan_of(given.options)


def search(*arguments: str) -> SearchPlan:
    found = plan(*arguments, "--slo", "ttft=1s").search
    assert found is not None
    return found


def test_a_search_of_users_begins_with_its_first_probe() -> None:
    load = plan(
        "--find-capacity", "users", "--slo", "ttft=1s", "--level-time", "30s", "--ramp", "2s", "--warm-up", "9s"
    )
    assert [(level.name, level.users, level.level_time_s, level.warm_up, level.probe) for level in load.levels] == [
        ("4", 4, 9.0, True, False),
        ("4", 4, 30.0, False, True),
    ]
    assert load.levels[1].ramp_s == 2.0


def test_probes_have_the_load_and_are_told_apart_by_their_names() -> None:
    of = search("--find-capacity", "users", "--between", "2:80", "--precision", "0.1", "--think-time", "2s")
    assert (of.range.low, of.range.high, of.range.precision, of.range.whole) == (2.0, 80.0, 0.1, True)
    probes = [of.probe(3, 20, 1), of.probe(4, 20, 2)]
    assert [(probe.index, probe.name, probe.users) for probe in probes] == [(3, "20", 20), (4, "20 #2", 20)]
    assert all(probe.think_time is not None and probe.probe for probe in probes)
    assert users_of(probes[1].name) == "20 users #2"


def test_probes_of_a_rate_have_arrivals_at_that_rate() -> None:
    of = search("--find-capacity", "rate", "--between", "0.5:50", "--arrivals", "gamma:0.5", "--max-in-flight", "9")
    probe = of.probe(2, 12.5, 1)
    assert probe.arrivals is not None
    assert (probe.name, probe.arrivals.process, probe.arrivals.rates) == ("12.5/s", "gamma:0.5", ((0.0, 12.5),))
    assert (probe.arrivals.mean_rate, probe.arrivals.max_in_flight, probe.ramp_s) == (12.5, 9, 0.0)
    assert users_of(of.probe(2, 12.5, 2).name) == "12.5 requests/s #2"
    assert of.largest.name == "50/s"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--between", "1:9"), "--between has no effect without --find-capacity"),
        (("--find-capacity", "users", "--levels", "5"), "--levels has no effect with --find-capacity"),
        (("--find-capacity", "users", "--rate", "5"), "--rate has no effect with --find-capacity"),
        (("--find-capacity", "users", "-u", "5"), "has no effect with --find-capacity"),
        (("--find-capacity", "users", "--requests", "5"), "--requests has no effect with --find-capacity"),
        (("--find-capacity", "users", "--arrivals", "constant"), "--arrivals has no effect with --find-capacity users"),
        (("--find-capacity", "rate", "--ramp", "5s"), "--ramp has no effect with --find-capacity rate"),
    ],
)
def test_options_without_effect_are_refused(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises((PlanError, OptionErrors)) as refused:
        plan(*arguments, "--slo", "ttft=1s")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--find-capacity", "off", "--shape", "capacity"), "give --find-capacity users or --find-capacity rate, got"),
        (("--slo", ""), "give them, like --slo ttft=500ms"),
        (("--slo-share", "100%"), "cannot be shown by any number of requests"),
        (("--between", "9"), "like 1:1000, got '9'"),
        (("--between", "9:9"), "a smaller load above 0 and a larger one"),
        (("--between", "0:9"), "a smaller load above 0 and a larger one"),
        (("--between", "1:9.5"), "whole numbers of users"),
        (("--precision", "many"), "--precision takes a share like 5%"),
        (("--precision", "0.1%"), "--precision takes a share like 5%"),
        (("--system-prompt", "both"), "give --system-prompt off or on"),
        (("--ramp", "30s", "--level-time", "20s"), "must be longer than --ramp"),
    ],
)
def test_a_search_that_cannot_be_planned_is_refused(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises((PlanError, OptionErrors)) as refused:
        plan("--find-capacity", "users", "--slo", "ttft=1s", *arguments)
    assert words in str(refused.value)
