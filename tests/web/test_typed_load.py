"""Which shape a start form means: what was typed into it counts."""

from __future__ import annotations

import pytest

from tokenswarm.web.start_form import FormError
from tokenswarm.web.typed_load import ShownValues, shape_meant, shape_named

SHAPES = ("ladder", "free", "open")
SHOWN = {
    "shape": "ladder",
    "levels": "10,50,100",
    "ramp": "20s",
    "level_time": "5m",
    "user_count": "1",
    "spawn_rate": "1",
    "run_time": "",
    "rate": "",
    "rate_schedule": "",
    "trace": "",
    "arrivals": "poisson",
    "max_in_flight": "0",
}


@pytest.mark.parametrize(
    ("now", "changed", "shape"),
    [
        ("ladder", {}, "ladder"),
        ("ladder", {"user_count": "7"}, "free"),
        ("ladder", {"spawn_rate": "2.5"}, "free"),
        ("ladder", {"run_time": "1m"}, "free"),
        ("ladder", {"spawn_rate": "1.0"}, "ladder"),
        ("ladder", {"levels": "5"}, "ladder"),
        ("ladder", {"shape": "free"}, "free"),
        ("free", {}, "free"),
        ("free", {"levels": "5,9"}, "ladder"),
        ("free", {"user_count": "7"}, "free"),
        ("free", {"level_time": "9m"}, "ladder"),
        ("ladder", {"rate": "5"}, "open"),
        ("free", {"rate_schedule": "0s:5"}, "open"),
        ("ladder", {"trace": "trace.jsonl"}, "open"),
        ("open", {"max_in_flight": "7", "level_time": "1m"}, "open"),
        ("open", {"level_time": "1m"}, "open"),
        ("ladder", {"rate": "5", "level_time": "1m"}, "open"),
        ("open", {"levels": "5"}, "ladder"),
        ("open", {"user_count": "5"}, "free"),
        ("free", {"shape": "ladder", "user_count": "7"}, "ladder"),  # chosen, so that the users do not count
    ],
)
def test_fields_of_the_other_shape_select_it_unless_one_was_chosen(
    now: str, changed: dict[str, str], shape: str
) -> None:
    shown = SHOWN | {"shape": now}
    assert shape_meant(shown | changed, shown) == shape


def test_fields_that_are_not_sent_were_not_changed() -> None:
    assert shape_meant({"levels": "5"}, SHOWN) == "ladder"
    assert shape_meant({"user_count": "5"}, SHOWN) == "free"


def test_a_form_that_was_opened_before_the_last_run_was_not_changed_in_what_that_run_changed() -> None:
    """Its levels are those of the start; what the person typed are the users."""
    known = ShownValues()
    assert shape_meant(SHOWN | {"levels": "2"}, SHOWN, known) == "ladder"
    now = SHOWN | {"levels": "2"}
    assert shape_meant(SHOWN | {"user_count": "3"}, now, known) == "free"
    assert shape_meant(now | {"user_count": "3"}, now, known) == "free"


@pytest.mark.parametrize(
    "changed",
    [
        {"rate": "5", "levels": "7"},
        {"rate": "5", "user_count": "7"},
        {"level_time": "9m", "user_count": "7"},
        {"rate": "5", "user_count": "7", "level_time": "9m"},
    ],
)
def test_fields_of_two_shapes_are_refused(changed: dict[str, str]) -> None:
    with pytest.raises(FormError):
        shape_meant(SHOWN | changed, SHOWN)


@pytest.mark.parametrize("shape", ["ladder", "free"])
def test_fields_of_both_shapes_are_refused_unless_one_was_chosen(shape: str) -> None:
    with pytest.raises(FormError):
        shape_meant(SHOWN | {"shape": shape, "user_count": "7", "levels": "5"}, SHOWN | {"shape": shape})
    other = "free" if shape == "ladder" else "ladder"
    assert shape_meant(SHOWN | {"shape": shape, "user_count": "7", "levels": "5"}, SHOWN | {"shape": other}) == shape


@pytest.mark.parametrize("before", ["ladder", "free", "open"])
@pytest.mark.parametrize(
    ("form", "shape"),
    [
        ({"levels": "2"}, "ladder"),
        ({"user_count": "5"}, "free"),
        ({"rate": "5"}, "open"),
        ({"shape": "ladder", "levels": "2", "user_count": "5"}, "ladder"),
        ({"levels": "2", "rate": ""}, "ladder"),
        ({"levels": "2", "user_count": "5"}, None),
        ({"levels": "2", "rate": "5"}, None),
        ({"level_time": "5m", "user_count": "5"}, None),
    ],
)
def test_what_a_script_names_counts_whatever_ran_before(before: str, form: dict[str, str], shape: str | None) -> None:
    if shape is None:
        with pytest.raises(FormError):
            shape_named(form, before)
    else:
        assert shape_named(form, before) == shape


def test_a_script_that_names_no_load_repeats_the_one_before() -> None:
    assert shape_named({"max_tokens": "5"}, "open") == "open"
    assert [shape_named({"level_time": "1m"}, shape) for shape in SHAPES] == ["ladder", "ladder", "open"]
