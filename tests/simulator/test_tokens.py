"""The tokenizer and the answers."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.simulator.tokens import AnswerGenerator, Characters, render_chat, tokenise, tokenise_raw


@given(st.text())
def test_the_tokens_of_any_text_are_that_text(text: str) -> None:
    assert "".join(tokenise(text)) == text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("the cat", ["the", " cat"]),
        ("licences, please.", ["licence", "s", ",", " please", "."]),
        ("in 12345 days", ["in", " 123", "45", " days"]),
        ("a\n\n b_c", ["a", "\n", "\n", " b", "_", "c"]),
        ("", []),
    ],
)
def test_words_digits_and_signs_are_split_as_described(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


def test_a_chat_is_rendered_in_the_template_with_the_answers_header() -> None:
    assert render_chat([("system", "Be brief."), ("user", " hi ")]) == [
        *("<|begin_of_text|>", "<|start_header_id|>", "system", "<|end_header_id|>", "\n\n", "Be", " brief", "."),
        *("<|eot_id|>", "<|start_header_id|>", "user", "<|end_header_id|>", "\n\n", "hi", "<|eot_id|>"),
        *("<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n"),
    ]


def test_an_answers_text_has_as_many_tokens_as_announced() -> None:
    answers = AnswerGenerator(seed=3, median_tokens=100, sigma=0.7)
    for number in range(50):
        answer = answers.draw(number, max_tokens=150)
        # The end token of a stopped answer is counted and has no text.
        assert len(tokenise(answer.text())) == answer.tokens - answer.stopped


def test_the_same_seed_and_number_give_the_same_answer() -> None:
    draws = [
        AnswerGenerator(seed, 100, 0.7).draw(number, 512).text() for seed, number in [(1, 5), (1, 5), (1, 6), (2, 5)]
    ]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_ignoring_the_end_token_gives_exactly_max_tokens() -> None:
    answer = AnswerGenerator(1, 100, 0.7).draw(0, max_tokens=2000, ignore_eos=True)
    assert (answer.tokens, answer.finish_reason) == (2000, "length")


def test_an_answer_ends_by_itself_or_at_max_tokens() -> None:
    drawn = [AnswerGenerator(1, 100, 0.7).draw(number, max_tokens=100) for number in range(400)]
    assert {answer.finish_reason for answer in drawn} == {"stop", "length"}
    assert all(answer.tokens == 100 for answer in drawn if not answer.stopped)
    assert all(2 <= answer.tokens <= 100 for answer in drawn)


def test_the_median_length_is_the_one_asked_for() -> None:
    answers = AnswerGenerator(1, median_tokens=100, sigma=0.7)
    assert median(answers.draw(number, 100_000).tokens for number in range(2000)) == pytest.approx(100, rel=0.1)


def test_min_tokens_lengthens_short_answers() -> None:
    answers = AnswerGenerator(1, median_tokens=5, sigma=0.7)
    assert min(answers.draw(number, 512, min_tokens=40).tokens for number in range(200)) == 40


def test_a_single_token_is_always_text() -> None:
    answer = AnswerGenerator(1, median_tokens=5, sigma=0.7).draw(0, max_tokens=1)
    assert (answer.finish_reason, answer.text() != "") == ("length", True)


def test_a_template_written_out_has_the_tokens_of_the_messages() -> None:
    header = "<|start_header_id|>{}<|end_header_id|>\n\n"
    written = f"<|begin_of_text|>{header.format('system')}Be brief.<|eot_id|>{header.format('user')}hi\n\nyou<|eot_id|>"
    rendered = render_chat([("system", "Be brief."), ("user", "hi\n\nyou")])
    assert tokenise_raw(written + header.format("assistant")) == rendered


def test_characters_spread_over_tokens_are_held_back_or_shown_in_parts() -> None:
    answer = AnswerGenerator(1, 100, 0.7, split_characters=True).draw(0, max_tokens=2000, ignore_eos=True)
    pieces = [answer.word(index) for index in range(2000)]
    halves = [index for index, piece in enumerate(pieces[:-1]) if not piece.isprintable() and piece[-1] >= "\udc80"]
    assert halves and pieces[0].isprintable()
    held, shown = Characters(holds=True), Characters(holds=False)
    texts, parts = [held.text(piece) for piece in pieces], [shown.text(piece) for piece in pieces]
    assert {"", " caf\u00e9"} <= set(texts) and "\ufffd" not in "".join(texts)
    assert " caf\ufffd" in parts and "\ufffd" in parts and "" not in parts


def test_what_is_held_back_at_the_end_is_shown() -> None:
    assert Characters(holds=True).text(" caf\udcc3", last=True) == " caf\ufffd"


def test_a_stray_byte_is_not_held_back() -> None:
    assert Characters(holds=True).text("\udca9 then") == "\ufffd then"
