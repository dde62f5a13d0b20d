"""How long a prompt is: by the stated estimate, or by a tokenizer on this disk."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordLevelTrainer

from tokenswarm.prompts import PromptError, token_counter


def words_tokenizer() -> Tokenizer:
    """One token a word or mark, and a start token before each text, as Llama's tokenizers add one."""
    tokenizer = Tokenizer(WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    trainer = WordLevelTrainer(special_tokens=["<unk>", "<s>"])
    tokenizer.train_from_iterator(["how long is a piece of string ?"], trainer)
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("   ", 0),
        ("What is the capital of France?", 7),
        ("internationalisation", 3),  # a word of twenty letters
        ("It's 1234567.", 7),  # It ' s, three groups of digits, a full stop
        ("one\n\ntwo", 3),  # a blank line is one token
        ("Wait... what?!", 5),  # three dots are two tokens, ?! is one
    ],
)
def test_the_estimate_counts_words_numbers_and_marks(text: str, tokens: int) -> None:
    assert token_counter(None).count(text) == tokens


def test_the_estimate_says_that_it_is_one() -> None:
    assert token_counter(None).name == "estimate (words, numbers and punctuation marks)"


def test_a_tokenizer_file_counts_without_special_tokens(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    words_tokenizer().save(str(file))
    counter = token_counter(str(file))
    assert counter.count("how long is a rope ?") == 6
    assert counter.name == f"tokenizer {file}"


def test_a_folder_with_a_tokenizer_file_will_do(tmp_path: Path) -> None:
    words_tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert token_counter(str(tmp_path)).count("how long ?") == 3


def test_truncation_and_padding_saved_with_a_tokenizer_do_not_touch_the_count(tmp_path: Path) -> None:
    tokenizer = words_tokenizer()
    tokenizer.enable_truncation(max_length=4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    counter = token_counter(str(tmp_path))
    assert [counter.count("how"), counter.count("how long is a piece of string ?")] == [1, 8]


def test_a_folder_without_a_tokenizer_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="holds no tokenizer.json; give a tokenizer.json, a folder with one, or"):
        token_counter(str(tmp_path))


@pytest.mark.parametrize("name", ["none.json", "./none", "/none/at/all", "~/none", "some/deep/path"])
def test_a_path_that_does_not_exist_is_never_taken_for_a_name_on_the_hub(name: str) -> None:
    with pytest.raises(PromptError, match=f"^tokenizer '{name}' does not exist; give a tokenizer.json"):
        token_counter(name)


def test_a_broken_tokenizer_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(PromptError, match=r"tokenizer\.json cannot be read \(EOF while parsing .*\); expected a tok"):
        token_counter(str(tmp_path))
