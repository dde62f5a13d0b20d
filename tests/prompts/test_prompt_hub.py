"""Offline: data sets and tokenizers from a hub cache laid out on disk, read by the real libraries.

The libraries read their environment when they are imported, so each case runs in a process of its own, which patches
the standard library with gevent first, as a load generator does.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DOLLY_ROWS = [
    {"instruction": "Name three rivers.", "context": "", "response": "A, B, C", "category": "open_qa"},
    {"instruction": "Who is late?", "context": "Mia is late.", "response": "Mia", "category": "closed_qa"},
]
SCRIPT = """
from gevent import monkey
monkey.patch_all()
import json, sys
from prompts import PromptError, load_prompts, token_counter
answers = []
for source, tokenizer in json.loads(sys.argv[1]):
    try:
        prompts = load_prompts(source, tokens_min=1, tokens_max=999, counter=token_counter(tokenizer))
        answers.append([prompts.token_counting, *([p.text, p.tokens, p.category] for p in prompts.prompts)])
    except PromptError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def put_in_cache(home: Path, repository: str, *files: tuple[str, str]) -> None:
    """Lays `files` (name, content) out under `home` as the hub's client leaves a downloaded repository."""
    folder = home / "hub" / repository
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for name, content in files:
        file = folder / "snapshots" / COMMIT / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")


def as_jsonl(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def trained_tokenizer() -> str:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    alphabet = ByteLevel.alphabet()
    text = " ".join(row["context"] + " " + row["instruction"] for row in DOLLY_ROWS)
    trainer = BpeTrainer(initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False)
    tokenizer.train_from_iterator([text] * 5, trainer)
    return tokenizer.to_str()


def answers(home: Path, *cases: tuple[str, str | None]) -> list[object]:
    """What each (source, tokenizer) gives without a network; fails if anything was written to standard error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, json.dumps(cases)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    answered: list[object] = json.loads(done.stdout)
    return answered


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("full")
    put_in_cache(
        home,
        "datasets--databricks--databricks-dolly-15k",
        ("databricks-dolly-15k.jsonl", as_jsonl(DOLLY_ROWS)),
        ("README.md", "---\nlicense: cc-by-sa-3.0\n---\n# Rows of our own\n"),
    )
    put_in_cache(
        home,
        "datasets--someone--questions",
        ("data/train.csv", "question\nHow old?\n"),
        ("data/test.csv", "question\nHow far?\n"),
    )
    put_in_cache(home, "datasets--someone--card", ("README.md", "# A card without data\n"))
    put_in_cache(home, "models--someone--model", ("tokenizer.json", trained_tokenizer()))
    return home


def test_dolly_and_any_other_data_set_come_from_the_cache(full: Path) -> None:
    def tokens(text: str) -> int:
        return len(Tokenizer.from_str(trained_tokenizer()).encode(text).ids)

    before = sorted(full.rglob("*.*"))
    dolly, train, test = answers(
        full, ("dolly", "someone/model"), ("hf:someone/questions", None), ("hf:someone/questions@test", None)
    )
    estimate = "estimate (words, numbers and punctuation marks)"
    assert dolly == [
        "tokenizer someone/model",
        ["Name three rivers.", tokens("Name three rivers."), "open_qa"],
        ["Mia is late.\n\nWho is late?", tokens("Mia is late.\n\nWho is late?"), "closed_qa"],
    ]
    assert train == [estimate, ["How old?", 3, ""]]
    assert test == [estimate, ["How far?", 3, ""]]
    assert sorted(full.rglob("*.*")) == before, "the cache was written to"


def test_what_the_cache_lacks_is_refused_with_the_ways_out(full: Path) -> None:
    split, card, unknown, tokenizer = answers(
        full,
        ("hf:someone/questions@dev", None),
        ("hf:someone/card", None),
        ("hf:nobody/nothing", None),
        ("dolly", "nobody/model"),
    )
    ways_out = "use --prompts sample, or --prompts PATH with a local file"
    assert str(split).startswith("prompts from 'hf:someone/questions@dev': someone/questions cannot be loaded (")
    assert 'Unknown split "dev"' in str(split)
    assert str(split).endswith(ways_out)
    assert "the Hugging Face hub cannot be reached and its cache here holds no someone/card" in str(card)
    assert unknown == (
        "prompts from 'hf:nobody/nothing': the Hugging Face hub cannot be reached and its cache here holds no "
        "nobody/nothing; fill the cache once with a network (hf download --repo-type dataset nobody/nothing), "
        + ways_out
    )
    assert tokenizer == (
        "tokenizer 'nobody/model': the Hugging Face hub cannot be reached and its cache here holds no such tokenizer; "
        "fill the cache once with a network (hf download nobody/model tokenizer.json), give a tokenizer.json or a "
        "folder with one, or leave the tokenizer out to have tokens estimated"
    )


def test_an_empty_cache_never_turns_dolly_into_the_sample(tmp_path: Path) -> None:
    (refused,) = answers(tmp_path, ("dolly", None))
    assert str(refused).startswith("prompts from 'dolly': the Hugging Face hub cannot be reached")
    assert "use --prompts sample" in str(refused)
    assert list(tmp_path.rglob("*.*")) == []
