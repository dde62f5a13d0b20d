"""The shared prefix of requests with a system prompt."""

from pathlib import Path

import pytest

from tokenswarm.prompts import DEFAULT_SYSTEM_PROMPT, PromptError, estimate_tokens, load_system_prompt


def test_without_a_path_the_default_is_used() -> None:
    assert load_system_prompt(None) == DEFAULT_SYSTEM_PROMPT


def test_the_default_is_long_enough_for_a_prefix_cache_to_matter() -> None:
    # vLLM caches whole blocks of 16 tokens, TensorRT-LLM of 32 or 64 tokens.
    assert 200 <= estimate_tokens(DEFAULT_SYSTEM_PROMPT) <= 310


def test_a_file_is_read_as_utf_8_without_its_byte_order_mark_and_outer_blanks(tmp_path: Path) -> None:
    file = tmp_path / "system.txt"
    file.write_bytes(b"\xef\xbb\xbf\nAnswer in French, s'il vous pla\xc3\xaet.\n\nBe brief.\n")
    assert load_system_prompt(str(file)) == "Answer in French, s'il vous plaît.\n\nBe brief."


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"^system prompt file '.*none\.txt' does not exist; give"):
        load_system_prompt(str(tmp_path / "none.txt"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="is a folder; give"):
        load_system_prompt(str(tmp_path))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text(" \n\t\n")
    with pytest.raises(PromptError, match=r"blank\.txt' is empty; give a file with text, or leave the option out"):
        load_system_prompt(str(tmp_path / "blank.txt"))


def test_a_file_in_another_encoding_is_refused_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(PromptError, match=r"is not UTF-8 \(byte 3 cannot be decoded\); save it as UTF-8"):
        load_system_prompt(str(tmp_path / "latin.txt"))
