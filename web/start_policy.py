"""What a run that is started from the web page may use: options that the form shows, files and servers that the command
line allows."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenswarm.command_line import collect_errors, did_you_mean, nearest_names
from tokenswarm.shapes.rate_options import names_file, schedule_names_file
from tokenswarm.web.form_words import OTHER_NAMES
from tokenswarm.web.origins import is_loopback
from tokenswarm.web.start_form import FormError
from tokenswarm.web.web_options import ANY_TARGET

_MOST_CHARACTERS = 64 * 1024
_SHOWN_CHARACTERS = 200
_ADDRESS = re.compile(
    r"((?P<scheme>https?)://)?(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/[^\s?#\\@<>]*)?",
    re.ASCII | re.IGNORECASE,
)
_OPTION_NAME = re.compile(r"[a-z_]{1,64}", re.ASCII)
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)
_HUB_DATA_SET = re.compile(r"hf:(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(:[\w.+-]+)?(@[\w.\-\[\]:%+]+)?", re.ASCII)
#: Options that may hold the path of a file, and the words that they take besides.
FILES: Mapping[str, Collection[str]] = {
    "prompts": ("sample", "dolly"),
    "chat_template": ("", "llama-3"),
    "system_prompt_file": ("",),
    "body_file": ("",),
    "tokenizer": ("",),
    "tls_ca": ("",),
    "input_tokens": ("",),
    "output_tokens": ("",),
    "turns": ("", "all", "last"),
    "arrivals": ("poisson", "constant"),
    "rate_schedule": ("",),
    "trace": ("",),
}
#: Options that name a file in one of their notations only.
_WITH_HISTOGRAM = ("input_tokens", "output_tokens", "turns")
_HISTOGRAM = re.compile(r"\s*hist\s*:(?P<file>.*)", re.DOTALL)
#: Options that may hold the address of a server, and the words that they take besides.
ADDRESSES: Mapping[str, Collection[str]] = {
    "host": (),
    "server_metrics": ("auto", "off"),
    "gpu_metrics_url": ("",),
}

#: What Locust's own form sets, and no option does.
_CLASSES = {
    "user_classes": "user classes cannot be chosen on the web page: name them on the command line that starts it, "
    "behind its options.",
    "shape_class": "the shape cannot be chosen on the web page by its class: a run follows the one shape of the "
    "locustfile.",
}


class Target(NamedTuple):
    """Scheme, name and port of a server."""

    scheme: str
    name: str
    port: int

    @classmethod
    def of(cls, address: str) -> Target | None:
        """Without a scheme it is http, and https for port 443, as for --host. None where the text is no plain
        address."""
        parsed = _ADDRESS.fullmatch(address.strip())
        if parsed is None or (parsed["scheme"] is None and "://" in address):
            return None
        scheme = (parsed["scheme"] or ("https" if parsed["port"] == "443" else "http")).lower()
        port = int(parsed["port"] or (443 if scheme == "https" else 80))
        return cls(scheme, parsed["name"].lower().strip("[]").removesuffix("."), port)


class StartPolicy:
    """What the command line allows the page. options: the values at start, by name with underscores."""

    def __init__(self, options: Mapping[str, Any], host: str, targets: Sequence[str], folders: Sequence[Path]) -> None:
        """Raises FormError for a target that is not an address."""
        self._known = frozenset(options)
        self._given = {name: str(options.get(name, "")) for name in (*FILES, *ADDRESSES)} | {"host": host}
        self._folders = folders
        self._any_target = ANY_TARGET in targets
        self._targets = [target for target in targets if target != ANY_TARGET]
        self._names = {_target(target).name for target in self._targets}
        self._names |= {own.name for each in host.split(",") if (own := Target.of(each)) is not None}

    def check(self, form: Mapping[str, Sequence[str]], shown: Collection[str], several: Collection[str] = ()) -> None:
        """As `rejected`. Raises FormError; OptionErrors for several fields."""
        with collect_errors() as errors:
            for error in self.rejected(form, shown, several).values():
                errors.add(error)

    def rejected(
        self, form: Mapping[str, Sequence[str]], shown: Collection[str], several: Collection[str] = ()
    ) -> dict[str, FormError]:
        """The fields of a form that hold what the page may not set, by name, each with the reason in a sentence. shown:
        the options that the page's forms have; several: those that may come more than once."""
        found = {}
        for name, texts in form.items():
            try:
                self._check_field(name, texts, shown, name in several)
            except FormError as error:
                found[name] = error
        return found

    def _check_field(self, name: str, texts: Sequence[str], shown: Collection[str], several: bool) -> None:
        plain = _OPTION_NAME.fullmatch(name)
        option = f"--{name.replace('_', '-')}" if plain else repr(name[:_SHOWN_CHARACTERS])
        if name not in shown and name in _CLASSES:
            raise FormError(_CLASSES[name])
        if name not in shown:
            raise FormError(
                f"{option} cannot be set from the web page; set it on the command line."
                if name in self._known and name not in OTHER_NAMES
                else _no_such_option(name[:_SHOWN_CHARACTERS], shown)
            )
        if len(texts) != 1 and not several:
            raise FormError(f"{option} was sent {len(texts)} times; send it once.")
        for text in texts:
            if len(text) > _MOST_CHARACTERS or "\0" in text:
                raise FormError(f"{option} holds more than {_MOST_CHARACTERS:,} characters, or a NUL.")
            self._check_value(name, option, text)

    def _check_value(self, name: str, option: str, text: str) -> None:
        if text == self._given.get(name):
            return
        shown = text[:_SHOWN_CHARACTERS]
        if name in FILES and not self._may_read(name, text):
            raise FormError(
                f"{option} may not name {shown!r}: the web page may name the files of the command line and those in "
                "folders of --web-allow-folder. Start Tokenswarm with that option to allow more."
            )
        if name in ADDRESSES:
            self._check_address(name, option, text, shown)

    def _may_read(self, name: str, text: str) -> bool:
        if text in FILES[name]:
            return True
        if (path_in := _path_in(name, text)) is None:
            return True
        text = path_in
        if text.startswith("~"):
            return False  # of whose home it is, two readers may not agree
        try:
            path = Path(text).resolve()
            if (hub_name := _hub_name(name, text)) and not Path(hub_name).exists():
                return True
            return any(path.is_relative_to(folder) for folder in self._folders)
        except (OSError, ValueError, RuntimeError):  # too long, or links that lead to each other
            return False

    def _check_address(self, name: str, option: str, text: str, shown: str) -> None:
        if text in ADDRESSES[name]:
            return
        if name == "host" and "," in text:
            for each in text.split(","):
                self._check_address(name, option, each.strip(), each.strip()[:_SHOWN_CHARACTERS])
            return
        target = Target.of(text)
        if target is None:
            raise FormError(f"{option} takes an address like http://HOST:PORT, got {shown!r}.")
        if not (self._any_target or target.name in self._names or is_loopback(target.name)):
            raise FormError(
                f"{option} may not be {shown}: the web page may load the server of the command line's --host, servers "
                f"on this machine, and those of --web-allow-target. Start Tokenswarm with --web-allow-target {shown} "
                "to allow this one."
            )

    def suggestions(self) -> dict[str, list[str]]:
        """By option, values that the command line names and those that come with Tokenswarm."""
        hosts = [self._given["host"], *self._targets]
        suggested = {name: [self._given[name], *words] for name, words in FILES.items()} | {"host": hosts}
        return {name: [*dict.fromkeys(filter(None, values))] for name, values in suggested.items()}


def _path_in(name: str, text: str) -> str | None:
    """The path of the file that an option's text names; None for a notation without a file."""
    if name in _WITH_HISTOGRAM:
        histogram = _HISTOGRAM.match(text)
        return histogram["file"].replace("\n", " ").strip().strip('"') if histogram else None
    if name == "arrivals":
        return text if names_file(text) else None
    if name == "rate_schedule":
        return text if schedule_names_file(text) else None
    return text


def _no_such_option(name: str, shown: Collection[str]) -> str:
    """A sentence on a name that no option has, with the most similar one that the form has."""
    words = name.strip("-").replace("-", "_")
    near = [OTHER_NAMES[words]] if words in OTHER_NAMES else nearest_names(words, shown)
    return f"there is no option {name!r}{did_you_mean(near) or '; tokenswarm/form.json lists them.'}"


def _hub_name(option: str, text: str) -> str | None:
    """OWNER/NAME on the Hugging Face hub, if it is one. The hub's libraries prefer a local folder of that name."""
    if option == "tokenizer" and _HUB_NAME.fullmatch(text):
        return text
    parsed = _HUB_DATA_SET.fullmatch(text) if option == "prompts" else None
    return parsed["name"] if parsed else None


def _target(address: str) -> Target:
    target = Target.of(address)
    if target is None or "://" not in address:
        raise FormError(f"--web-allow-target takes addresses like http://HOST:PORT, got {address!r}.")
    return target
