"""The images of a run's requests: files as they are, or synthetic ones that can differ from request to request."""

from __future__ import annotations

import io
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tokenswarm.command_line import collect_errors
from tokenswarm.prompts.nonces import PromptReuse
from tokenswarm.prompts.prompt_records import PromptError
from tokenswarm.prompts.synthetic.marked_png import LEAST_SIDE, MOST_SIDE, MarkedPng
from tokenswarm.sanitize import UnusableFile, read_file

_SYNTHETIC = re.compile(r"synthetic:(?P<width>[0-9]{1,5})x(?P<height>[0-9]{1,5})")
_MOST_FILE_BYTES = 20 * 2**20
#: Media types by the names that Pillow has for formats.
_MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What run.json records of an image. source: as --image has it; width, height: in pixels; size_bytes: of the file;
    sha256: hexadecimal, of the file, and of its unmarked form for a synthetic one."""

    source: str
    media_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str


class RunImage:
    """An image in the form in which requests carry it."""

    def __init__(self, facts: ImageFacts, encoded: bytes | MarkedPng) -> None:
        """encoded: the file in Base64, or what makes one with marks."""
        self.facts = facts
        self._start = f"data:{facts.media_type};base64,".encode()
        self._url = b"" if isinstance(encoded, MarkedPng) else self._start + encoded
        self._png = encoded if isinstance(encoded, MarkedPng) else None

    @property
    def takes_marks(self) -> bool:
        """Whether a mark makes another image of it."""
        return self._png is not None

    def data_url(self, mark: bytes) -> bytes:
        """A data URL. mark: of MARK_BYTES, or none; see `MarkedPng`."""
        return self._url if self._png is None else self._start + self._png.base64(mark)

    def digest(self, mark: bytes) -> str:
        """A text that is equal for equal images."""
        return f"{self.facts.sha256}/{mark.hex()}" if mark and self._png is not None else self.facts.sha256


def load_images(sources: Sequence[str]) -> tuple[RunImage, ...]:
    """The images of --image, each read and encoded here and nowhere after. Raises PromptError, OptionErrors for
    several."""
    with collect_errors() as errors:
        images = [errors.of(_image, source) for source in sources]
    return tuple(images)


def image_facts(images: Sequence[RunImage], reuse: PromptReuse) -> list[dict[str, Any]]:
    """What run.json records of them; unique: whether each request of the run has another image."""
    return [asdict(image.facts) | {"unique": image.takes_marks and reuse is PromptReuse.NEVER} for image in images]


def _image(source: str) -> RunImage:
    if source.startswith("synthetic:"):
        return _synthetic(source)
    try:
        content = read_file(Path(source).expanduser(), _MOST_FILE_BYTES)
    except UnusableFile as error:
        raise PromptError(f"--image: the file {source} {error}.") from None
    kind, (width, height) = _format_and_size(source, content)
    facts = ImageFacts(source, _MEDIA_TYPES[kind], width, height, len(content), sha256(content).hexdigest())
    return RunImage(facts, b64encode(content))


def _format_and_size(source: str, content: bytes) -> tuple[str, tuple[int, int]]:
    """By its bytes, whatever its name ends with. Raises PromptError for what no server could read either."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=tuple(_MEDIA_TYPES)) as image:
            image.load()
            return str(image.format), image.size
    except Exception as error:  # of a broken file, Pillow raises errors of all kinds
        kinds = ", ".join(_MEDIA_TYPES)
        raise PromptError(
            f"--image takes a {kinds} file or synthetic:WIDTHxHEIGHT; the file {source} is none that can be read "
            f"({type(error).__name__})."
        ) from None


def _synthetic(source: str) -> RunImage:
    parsed = _SYNTHETIC.fullmatch(source)
    sides = [int(parsed[name]) for name in ("width", "height")] if parsed else []
    if not sides or not all(LEAST_SIDE <= side <= MOST_SIDE for side in sides):
        raise PromptError(
            f"--image takes synthetic:WIDTHxHEIGHT, each from {LEAST_SIDE} to {MOST_SIDE:,} pixels, got {source!r}."
        )
    width, height = sides
    png = MarkedPng(width, height, source)
    unmarked = sha256(png.base64()).hexdigest()
    return RunImage(ImageFacts(source, "image/png", width, height, png.size_bytes, unmarked), png)
