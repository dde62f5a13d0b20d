"""Offline: data sets and tokenizers from a hub cache laid out on disk, read by the real libraries.

The libraries read their environment when they are imported, so each case runs in a process of its own, which patches
the standard library with gevent first, as a load generator does.
"""

import gzip
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

pytestmark = pytest.mark.slow

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
from tokenswarm.prompts import PromptError, load_prompts, token_counter
answers = []
for source, tokenizer in json.loads(sys.argv[1]):
    try:
        prompts = load_prompts(source, tokens_min=1, tokens_max=999, counter=token_counter(tokenizer))
        answers.append([prompts.token_counting, *([p.text, p.tokens, p.category] for p in prompts.prompts)])
    except PromptError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def put_in_cache(home: Path, repository: str, *files: tuple[str, str | bytes]) -> None:
    """Lays `files` (name, content) out under `home` as the hub's client leaves a downloaded repository."""
    folder = home / "hub" / repository
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for name, content in files:
        file = folder / "snapshots" / COMMIT / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


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
    """What each (source, tokenizer) gives without a network; fails if standard error has more than what is loaded."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, json.dumps(cases)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    # Loading is announced, as it may take long; the libraries write nothing of their own.
    assert all(line.startswith("Loading ") for line in done.stderr.splitlines()), done.stderr
    named = [
        source.removeprefix("hf:").partition("@")[0].partition(":")[0]
        for source, _ in cases
        if source.startswith("hf:")
    ]
    assert all(f"prompts from {name}" in done.stderr for name in named if name)
    assert all(f"tokenizer {name}" in done.stderr for _, name in cases if name and name.count("/") == 1)
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
    ways_out = "use --prompts sample, or --prompts PATH with a local file."
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
        "folder with one, or leave the tokenizer out to have tokens estimated."
    )


CARD_OF_TWO = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train.csv}
  - {split: test, path: main/test.csv}
- config_name: socratic
  data_files:
  - {split: train, path: socratic/train.csv}
---
# Two configurations
"""


def test_a_configuration_is_chosen_by_its_name(tmp_path: Path) -> None:
    put_in_cache(
        tmp_path,
        "datasets--someone--grade-school",
        ("README.md", CARD_OF_TWO),
        *((f"{name}.csv", f"question\nFrom {name}?\n") for name in ("main/train", "main/test", "socratic/train")),
    )
    main, test, socratic, none, unknown, other_split = answers(
        tmp_path,
        ("hf:someone/grade-school:main", None),
        ("hf:someone/grade-school:main@test", None),
        ("hf:someone/grade-school:socratic@train", None),
        ("hf:someone/grade-school", None),
        ("hf:someone/grade-school:both@test", None),
        ("hf:someone/grade-school:socratic@test", None),
    )
    for found, file in ((main, "main/train"), (test, "main/test"), (socratic, "socratic/train")):
        assert isinstance(found, list)
        assert [row[0] for row in found[1:]] == [f"From {file}?"]
    assert str(none).endswith(
        "someone/grade-school has several configurations; name one of main, socratic, for example "
        "hf:someone/grade-school:main."
    )
    assert str(unknown).endswith(
        "someone/grade-school has no configuration both; name one of main, socratic, for example "
        "hf:someone/grade-school:main@test."
    )
    assert 'Unknown split "test"' in str(other_split)


def test_a_hub_that_cannot_be_reached_is_noticed_in_seconds(tmp_path: Path) -> None:
    """Its client tries for half a minute, in silence. The cache is used all the same."""
    put_in_cache(tmp_path, "datasets--someone--questions", ("train.csv", "question\nHow old?\n"))
    put_in_cache(tmp_path, "models--someone--model", ("tokenizer.json", trained_tokenizer()))
    with socket.create_server(("127.0.0.1", 0)) as gone:
        endpoint = f"http://127.0.0.1:{gone.getsockname()[1]}"
    # A client that tries again sleeps in between.
    script = SCRIPT.replace("answers = []", _COUNT_SLEEPS).replace("dumps(answers)", "dumps([*answers, sum(slept_s)])")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path), "HF_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT)}
    cases = [("hf:someone/questions", "someone/model"), ("hf:nobody/nothing", None)]
    command = [sys.executable, "-c", script, json.dumps(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    found, missing, slept_s = json.loads(done.stdout)
    assert [row[0] for row in found[1:]] == ["How old?"]
    assert "the Hugging Face hub cannot be reached and its cache here holds no nobody/nothing" in missing
    assert f"{endpoint} cannot be reached" in done.stderr
    assert slept_s == 0


_COUNT_SLEEPS = """
import time
slept_s, answers = [], []
time.sleep = slept_s.append
"""


def test_an_empty_cache_never_turns_dolly_into_the_sample(tmp_path: Path) -> None:
    (refused,) = answers(tmp_path, ("dolly", None))
    assert str(refused).startswith("prompts from 'dolly': the Hugging Face hub cannot be reached")
    assert "use --prompts sample" in str(refused)
    assert list(tmp_path.rglob("*.*")) == []


def test_json_that_is_nested_too_deep_is_refused_before_a_parser_overflows(tmp_path: Path) -> None:
    """pyarrow's would end the process without a word. Brackets in a text are no nesting."""
    deep = '{"prompt":' + "[" * 200_000 + "]" * 200_000 + "}\n"
    text = "[" * 900
    put_in_cache(tmp_path, "datasets--someone--lines", ("data.jsonl", as_jsonl([{"prompt": "Why?"}] * 9) + deep))
    put_in_cache(
        tmp_path,
        "datasets--someone--zipped",
        ("train.jsonl", as_jsonl([{"prompt": "Why?"}])),
        ("test.jsonl.gz", gzip.compress(deep.encode())),
    )
    put_in_cache(tmp_path, "datasets--someone--document", ("data.json", f"[{deep}]"))
    put_in_cache(tmp_path, "datasets--someone--sound", ("data.jsonl", as_jsonl([{"prompt": text}] * 2)))
    (tmp_path / "tokenizer.json").write_text(trained_tokenizer())
    lines, zipped, document, sound = answers(
        tmp_path,
        ("hf:someone/lines", None),
        ("hf:someone/zipped", None),
        ("hf:someone/document", None),
        ("hf:someone/sound", str(tmp_path / "tokenizer.json")),
    )
    for refused, name in ((lines, "lines"), (zipped, "zipped"), (document, "document")):
        assert str(refused).startswith(f"prompts from 'hf:someone/{name}': someone/{name} cannot be loaded (")
        assert "has JSON nested deeper than 200 levels); use --prompts sample" in str(refused)
    assert isinstance(sound, list)
    assert [row[0] for row in sound[1:]] == [text] * 2
