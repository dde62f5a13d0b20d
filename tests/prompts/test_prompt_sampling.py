"""The order in which workers ask."""

from tokenswarm.prompts import Prompt, PromptSet, Sampler
from tokenswarm.prompts.prompt_records import fingerprint_of


def numbered(count: int) -> PromptSet:
    prompts = tuple(Prompt(f"prompt {number}", 30) for number in range(count))
    return PromptSet("numbered", prompts, "none", fingerprint_of(prompts))


def texts(sampler: Sampler, count: int) -> list[str]:
    return [sampler.draw().text for _ in range(count)]


def test_every_prompt_is_drawn_once_before_any_comes_again() -> None:
    sampler = Sampler(numbered(50), seed=1, worker_index=0)
    everything = {f"prompt {number}" for number in range(50)}
    assert set(texts(sampler, 50)) == everything
    assert set(texts(sampler, 50)) == everything


def test_the_second_round_has_an_order_of_its_own() -> None:
    sampler = Sampler(numbered(50), seed=1, worker_index=0)
    assert texts(sampler, 50) != texts(sampler, 50)


def test_the_same_seed_and_worker_repeat_the_same_order_across_rounds() -> None:
    assert texts(Sampler(numbered(20), 7, 3), 70) == texts(Sampler(numbered(20), 7, 3), 70)


def test_the_order_is_the_same_on_every_platform_and_in_every_process() -> None:
    drawn = texts(Sampler(numbered(8), seed=42, worker_index=1), 8)
    assert [int(text.removeprefix("prompt ")) for text in drawn] == [5, 3, 6, 2, 1, 7, 0, 4]


def test_workers_and_seeds_have_different_orders() -> None:
    orders = {tuple(texts(Sampler(numbered(50), seed, worker), 50)) for seed in range(10) for worker in range(10)}
    assert len(orders) == 100


def test_a_single_prompt_can_be_drawn_for_ever() -> None:
    assert texts(Sampler(numbered(1), seed=0), 3) == ["prompt 0"] * 3
