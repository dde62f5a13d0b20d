"""Images in requests: where they stand in a body, which request has which, and what is kept of them."""

from __future__ import annotations

import json
from argparse import Namespace
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from locust.argument_parser import get_empty_argument_parser

import tokenswarm.prompts.images
from tests.client.conftest import PATIENT
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_keeper import RequestKeeper
from tokenswarm.client.request_options import ChatOptions, add_options, at_endpoint, engine_of
from tokenswarm.client.request_spec import RequestSpec
from tokenswarm.client.run_context import RunContext
from tokenswarm.client.workload import check_images, load_given_workload, load_workload
from tokenswarm.command_line import OptionErrors
from tokenswarm.engines import ENGINES, ChatRequest, EncodedImage
from tokenswarm.metrics.timeline import Outcome
from tokenswarm.metrics.timeline_builder import TimelineBuilder
from tokenswarm.prompts import PromptError
from tokenswarm.recording.kept_requests import RecordMode
from tokenswarm.recording.recorder import Recorder
from tokenswarm.users.requests import UserRequests

IMAGE = EncodedImage(b"data:image/png;base64,iVBORw0KGgo=", "0123abc")
REQUEST = ChatRequest("m", "Why?", "Be brief.", 8, earlier=(("user", "Hello?"), ("assistant", "Hello.")), image=IMAGE)
Given = Callable[..., Namespace]


@pytest.fixture
def given() -> Given:
    parser = get_empty_argument_parser(default_config_files=[])
    add_options(parser)

    def parsed(*arguments: str) -> Namespace:
        return parser.parse_args(["--engine", "vllm", "--model", "m", "--prompt-nonce", "run", *arguments])

    return parsed


def bodies(options: ChatOptions, count: int, worker: int = 0) -> list[dict[str, Any]]:
    context = RunContext(options, "http://127.0.0.1:1", Recorder(worker=worker))
    found = []
    for _ in range(count):
        drawn = context.draw(False)
        request = context.request(drawn, False)
        found.append(json.loads(context.engine_for(drawn.prompt).request_body(request)))
    return found


def url_of(body: dict[str, Any]) -> str:
    text, image = body["messages"][-1]["content"]
    assert (text["type"], image["type"]) == ("text", "image_url")
    assert text["text"]
    found: str = image["image_url"]["url"]
    return found


def test_the_image_stands_beside_the_last_text_of_each_endpoint(given: Given) -> None:
    options = ChatOptions.of(given())
    chat = json.loads(engine_of(options).request_body(REQUEST))
    assert chat["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Hello."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Why?"},
                {"type": "image_url", "image_url": {"url": IMAGE.url.decode()}},
            ],
        },
    ]
    responses = json.loads(engine_of(at_endpoint(options, "responses")).request_body(REQUEST))
    assert responses["instructions"] == "Be brief."
    assert responses["input"][:-1] == chat["messages"][1:3]
    assert responses["input"][-1]["content"] == [
        {"type": "input_text", "text": "Why?"},
        {"type": "input_image", "image_url": IMAGE.url.decode(), "detail": "auto"},
    ]
    folded = json.loads(engine_of(options).request_body(REQUEST.without_system_role()))
    assert folded["messages"][-1] == chat["messages"][-1]


def test_the_content_hash_is_of_the_image_too() -> None:
    others = (None, EncodedImage(IMAGE.url, "other"))
    hashes = {ChatRequest("m", "Why?", None, 8, image=image).content_hash for image in (IMAGE, *others)}
    assert len(hashes) == 3


def test_several_images_are_drawn_in_order_and_synthetic_ones_differ_each_time(given: Given, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    synthetic = load_workload(ChatOptions.of(given("--image", "synthetic:20x16"))).images[0]
    file.write_bytes(b64decode(synthetic.data_url(b"").partition(b",")[2]))
    options = ChatOptions.of(given("--image", str(file), "--image", "synthetic:64x48"))
    urls = [url_of(body) for body in bodies(options, 6)]
    assert len(set(urls[0::2])) == 1
    assert b64decode(urls[0].partition(",")[2]) == file.read_bytes()
    assert len(set(urls[1::2])) == 3
    assert [url_of(body) for body in bodies(options, 6)] == urls
    assert set(urls[1::2]).isdisjoint(url_of(body) for body in bodies(options, 6, worker=1))


def test_images_are_read_and_encoded_once_in_a_run(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "picture.png"
    synthetic = load_workload(ChatOptions.of(given("--image", "synthetic:20x17"))).images[0]
    file.write_bytes(b64decode(synthetic.data_url(b"").partition(b",")[2]))
    encoded: list[int] = []

    def counted(content: bytes) -> bytes:
        encoded.append(len(content))
        return original(content)

    original = tokenswarm.prompts.images.b64encode
    monkeypatch.setattr("tokenswarm.prompts.images.b64encode", counted)
    arguments = given("--image", str(file))
    load_given_workload(arguments)  # as the check of the command line does
    assert len(encoded) == 1
    file.unlink()
    assert len({url_of(body) for body in bodies(ChatOptions.of(arguments), 5)}) == 1
    assert len(encoded) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--image", "synthetic:64x64", "--endpoint", "completions"),
        ("--image", "synthetic:64x64", "--input-tokens", "100"),
    ],
)
def test_options_without_a_place_for_an_image_are_refused(given: Given, arguments: tuple[str, ...]) -> None:
    with pytest.raises((OptionError, OptionErrors), match="--image"):
        ChatOptions.of(given(*arguments))


@pytest.mark.parametrize("engine", [name for name, each in ENGINES.items() if not each.takes_images])
def test_an_engine_whose_requests_hold_no_images_is_refused(given: Given, engine: str) -> None:
    with pytest.raises(OptionError, match="--image"):
        check_images(ENGINES[engine], ChatOptions.of(given("--image", "synthetic:64x64")))
    check_images(ENGINES[engine], ChatOptions.of(given()))


def test_rows_that_choose_an_endpoint_without_images_are_refused(given: Given, tmp_path: Path) -> None:
    rows = tmp_path / "batch.jsonl"
    body = {"prompt": "Once upon a time", "max_tokens": 8}
    rows.write_text(json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": body}) + "\n")
    options = ChatOptions.of(given("--image", "synthetic:64x64", "--prompts", str(rows), "--prompt-tokens", "1:99"))
    with pytest.raises(OptionError, match="--image"):
        check_images(ENGINES["vllm"], options, load_workload(options).prompts)


def test_a_file_that_cannot_be_used_is_found_with_the_command_line(given: Given) -> None:
    with pytest.raises(PromptError, match="--image"):
        load_given_workload(given("--image", "/nowhere/picture.png"))


@pytest.mark.parametrize("mode", list(RecordMode)[1:])
def test_a_kept_request_names_its_image_without_its_content(mode: RecordMode) -> None:
    spec = RequestSpec(ENGINES["vllm"], REQUEST, PATIENT, user="0.1")
    builder = TimelineBuilder("0.1", 0, 0)
    document = RequestKeeper(mode, spec).document("0-1", builder.finish(Outcome.CUT, over_ns=1), b"")
    kept = json.dumps(document)
    assert IMAGE.digest in kept
    assert "iVBORw0KGgo" not in kept


def test_a_request_is_encoded_with_its_image_before_it_is_due(given: Given) -> None:
    context = RunContext(ChatOptions.of(given("--image", "synthetic:64x48")), "http://127.0.0.1:1", Recorder(worker=0))
    user = UserRequests(SimpleNamespace(events=None), context, "0.1", with_system_prompt=False)
    sessions = [user.begin_session() for _ in range(2)]
    both = [user.prepare(context.client(), user.next_of(session, 0), session) for session in sessions]
    bodies = [prepared.request.encode().partition(b"\r\n\r\n")[2] for prepared in both]
    assert len({url_of(json.loads(body)) for body in bodies}) == 2
    assert len({prepared.spec.request.content_hash for prepared in both}) == 2
