"""Jinja of others, bounded: what a template may do, and how much processor time, memory and text it may take.

Run as a program, it tries the template on its standard input. What a sandbox cannot stop (one operation that runs for
minutes or fills the memory) ends that process and not the load test.
"""

from __future__ import annotations

import functools
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

#: Of processor time, for one request; a usual template takes some 20 µs.
RENDER_LIMIT_S = 1.0
_MOST_CHARACTERS = 64_000_000
_TRIAL_CPU_S = 5
_TRIAL_WALL_S = 120.0
_TRIAL_BYTES = 2**31
_USER = {"role": "user", "content": "Why?"}
_ASSISTANT = {"role": "assistant", "content": "Because."}
_SYSTEM = {"role": "system", "content": "Be brief."}
_TRIALS = ([_USER], [_SYSTEM, _USER], [_USER, _ASSISTANT, _USER], [_SYSTEM, _USER, _ASSISTANT, _USER])


#: As transformers has them for a request without tools and documents. The tokens are put in by the server's tokenizer.
_VARIABLES: dict[str, Any] = {
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "",
    "eos_token": "",
}


class TooExpensive(ValueError):
    """A template takes more time or writes more text than one request may; the text says which."""


class _Expired(BaseException):
    """No `except Exception` of Jinja's stops it."""


class _GenerationBlock(Extension):
    """`{% generation %}` … `{% endgeneration %}` marks what the model writes, for training: here it is only a scope."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> Node:
        """The block's content, whose variables end with it."""
        line = next(parser.stream).lineno
        return Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def parse_template(source: str) -> Template:
    """A template with what transformers gives to chat templates (tests/engines/chat_templates.json has its results).
    Raises whatever Jinja and Python's compiler do."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _as_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(source)


def render(template: Template, messages: Sequence[Any]) -> str:
    """The messages as one text, up to where the answer begins. Raises TooExpensive, and whatever the template does."""
    pieces, characters = [], 0
    try:
        with _limited(RENDER_LIMIT_S):
            for piece in template.generate(messages=messages, **_VARIABLES):
                pieces.append(piece)
                characters += len(piece)
                if characters > _MOST_CHARACTERS:
                    raise TooExpensive(f"it writes more than {_MOST_CHARACTERS:,} characters for one request")
    except _Expired:
        raise TooExpensive(f"it takes more than {RENDER_LIMIT_S:g} s of processor time for one request") from None
    return "".join(pieces)


@functools.lru_cache(maxsize=8)
def survives_trial(source: str) -> bool:
    """Whether the template can be read and applied to short requests within the limits, in a process of its own. That
    it fails in an ordinary way counts as surviving."""
    command = [sys.executable, "-P", __file__, str(_TRIAL_CPU_S)]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=_TRIAL_WALL_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _try_template(source: str) -> None:
    """Raises TooExpensive, MemoryError."""
    try:
        template = parse_template(source)
    except MemoryError:
        raise
    except Exception:  # the caller finds the same, and has a sentence for it
        return
    for messages in _TRIALS:
        try:
            render(template, messages)
        except (TooExpensive, MemoryError):
            raise
        except Exception:  # noqa: S112  # it may refuse a system prompt, for one
            continue


@contextmanager
def _limited(limit_s: float) -> Iterator[None]:
    """Raises _Expired in the block once that much of the process's time has gone into it. Outside of the main thread
    there is no limit: signals are not for other threads."""
    running = True

    def expire(*_: object) -> None:
        if running:
            raise _Expired

    try:
        before = signal.signal(signal.SIGVTALRM, expire)
    except ValueError:
        yield
        return
    try:
        # Again and again: the first may be raised where an exception is of no consequence, such as in a destructor.
        signal.setitimer(signal.ITIMER_VIRTUAL, limit_s, limit_s / 10)
        yield
    finally:
        running = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    """The local time, as transformers has it."""
    return datetime.now().strftime(form)


def _as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own filter escapes what HTML would misread."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _limit_process(cpu_s: int) -> None:
    limits = ((resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_AS, _TRIAL_BYTES), (resource.RLIMIT_CORE, 0))
    for kind, most in limits:
        with suppress(ValueError, OSError):  # a lower one is set, or the system has no such limit
            resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    _limit_process(int(sys.argv[1]))
    try:
        _try_template(sys.stdin.buffer.read().decode())
    except (TooExpensive, MemoryError):
        sys.exit(1)
