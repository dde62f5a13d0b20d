"""Images of requests: files by their bytes, and synthetic ones that marks make differ."""

from __future__ import annotations

import io
import struct
import zlib
from base64 import b64decode
from pathlib import Path

import pytest
from PIL import Image

from tokenswarm.command_line import OptionErrors
from tokenswarm.prompts import PromptError, PromptMarker, PromptReuse, estimate_tokens
from tokenswarm.prompts.images import image_facts, load_images

MARKS = (b"", b"abcdef", b"\0\1\2\3\4\5", b"\xff" * 6)


def content_of(url: bytes) -> bytes:
    start, _, text = url.partition(b",")
    assert start == b"data:image/png;base64"
    return b64decode(text, validate=True)


def chunks_of(png: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, data) of each chunk, whose checksum is right."""
    found, at = [], 8
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        data = png[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", png, at + 8 + size)[0] == zlib.crc32(kind + data)
        found.append((kind, data))
        at += 12 + size
    return found


@pytest.mark.parametrize(("width", "height"), [(16, 16), (17, 33), (18, 16), (640, 481)])
@pytest.mark.parametrize("mark", MARKS)
def test_a_synthetic_image_is_a_png_of_its_size_with_the_mark_in_its_pixels(
    width: int, height: int, mark: bytes
) -> None:
    (image,) = load_images([f"synthetic:{width}x{height}"])
    png = content_of(image.data_url(mark))
    # zlib raises where the data do not have the checksum that they end with.
    rows = zlib.decompress(b"".join(data for kind, data in chunks_of(png) if kind == b"IDAT"))
    assert len(rows) == height * (1 + 3 * width)
    with Image.open(io.BytesIO(png)) as opened:
        opened.load()
        assert (opened.format, opened.size, opened.mode) == ("PNG", (width, height), "RGB")
        assert opened.tobytes()[: 8 * len(mark)] == 8 * mark
    facts = image.facts
    assert (facts.media_type, facts.width, facts.height, facts.size_bytes) == ("image/png", width, height, len(png))


def test_marks_change_the_first_pixels_alone_and_the_same_ones_give_the_same_bytes() -> None:
    (image,) = load_images(["synthetic:64x48"])
    (again,) = load_images(["synthetic:64x48"])
    assert [image.data_url(mark) for mark in MARKS] == [again.data_url(mark) for mark in MARKS]
    pictures = [Image.open(io.BytesIO(content_of(image.data_url(mark)))).tobytes() for mark in MARKS]
    assert len({picture[:48] for picture in pictures}) == len(MARKS)
    assert len({picture[48:] for picture in pictures}) == 1
    assert len({image.digest(mark) for mark in MARKS}) == len(MARKS)


@pytest.mark.parametrize(
    ("reuse", "different", "in_another_run"),
    [(PromptReuse.NEVER, 20, True), (PromptReuse.RUN, 1, True), (PromptReuse.ALWAYS, 1, False)],
)
def test_images_repeat_as_prompts_do(reuse: PromptReuse, different: int, in_another_run: bool) -> None:
    def drawn(nonce: str) -> list[bytes]:
        workers = [PromptMarker(reuse, nonce, worker, estimate_tokens) for worker in (0, 1)]
        return [worker.image_mark(number) for worker in workers for number in range(10)]

    marks = drawn("run")
    assert len(set(marks)) == different
    assert (set(marks).isdisjoint(drawn("another"))) is in_another_run
    (facts,) = image_facts(load_images(["synthetic:16x16"]), reuse)
    assert facts["unique"] is (different == 20)


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("GIF", "image/gif")],
)
def test_a_file_is_sent_as_it_is_under_the_type_of_its_bytes(tmp_path: Path, kind: str, media_type: str) -> None:
    file = tmp_path / "picture.dat"
    Image.new("RGB", (31, 20), "red").save(file, kind)
    (image,) = load_images([str(file)])
    start, _, text = image.data_url(b"abcdef").partition(b",")
    assert (start.decode(), b64decode(text)) == (f"data:{media_type};base64", file.read_bytes())
    assert (image.facts.width, image.facts.height, image.facts.size_bytes) == (31, 20, file.stat().st_size)
    assert image.digest(b"abcdef") == image.digest(b"") == image.facts.sha256
    (facts,) = image_facts([image], PromptReuse.NEVER)
    assert facts["unique"] is False


@pytest.mark.parametrize("content", [b"", b"hello", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"BM" + bytes(60)])
def test_a_file_that_is_no_image_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(content)
    with pytest.raises(PromptError, match=r"picture\.png"):
        load_images([str(file)])


def test_half_an_image_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    (image,) = load_images(["synthetic:200x200"])
    file.write_bytes(content_of(image.data_url(b""))[:900])
    with pytest.raises(PromptError, match=r"picture\.png"):
        load_images([str(file)])


@pytest.mark.parametrize(
    "source", ["synthetic:", "synthetic:0x10", "synthetic:16", "synthetic:15x16", "synthetic:9999x16", "/nowhere.png"]
)
def test_a_source_that_cannot_be_used_is_named(source: str) -> None:
    with pytest.raises(PromptError) as refused:
        load_images([source])
    assert source in str(refused.value)
    with pytest.raises(OptionErrors):
        load_images([source, "synthetic:1x1"])
