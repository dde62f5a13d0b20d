"""Searches for garbage are short while requests are sent."""

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tokenswarm.users.garbage_collection import GarbageCollection


@pytest.fixture
def searches() -> Iterator[Counter[int]]:
    """How many there were, by generation; automatic ones are off."""
    found: Counter[int] = Counter()

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            found[info["generation"]] += 1

    gc.disable()
    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)
    gc.enable()


def test_new_objects_are_searched_every_few_requests_and_all_of_them_seldom(searches: Counter[int]) -> None:
    collection = GarbageCollection()
    collection.begin_run()
    searches.clear()
    for _ in range(8192):
        collection.request_begins()
    collection.end_run()
    assert searches == {0: 8192 // 16 - 1, 2: 1}


@pytest.mark.slow
def test_what_exists_when_a_run_begins_is_searched_again_after_it() -> None:
    collection = GarbageCollection()
    usual, frozen = gc.get_threshold(), gc.get_freeze_count()
    collection.begin_run()
    assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() != usual
    collection.begin_run()
    collection.end_run()
    collection.end_run()
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == 0
