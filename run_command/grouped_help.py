"""The help of `tokenswarm run` and `tokenswarm web`: all options, grouped by what they are for."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter
from collections.abc import Iterable, Sequence
from textwrap import wrap

from tokenswarm.reports.output import show, terminal_width
from tokenswarm.run_command.option_groups import GROUPS, PAGE, OptionGroup
from tokenswarm.run_control.run_parser import run_parser

_OPTION_COLUMNS = 26
#: An option with more choices than these is shown without them.
MOST_CHOICES = 7


class _UnbrokenNames(HelpFormatter):
    """Breaks lines between words only: --level-time and docs/load.md#think-time can be copied as they are shown."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)


def show_help(head: str, foot: str, *, of_page: bool) -> None:
    """Print the help of a run, of_page: that of the page, whose own options then are first."""
    groups = [PAGE, *GROUPS] if of_page else [*GROUPS, PAGE]
    show(grouped_help(run_parser(), head, groups, foot, terminal_width()).rstrip())


def grouped_help(parser: ArgumentParser, head: str, groups: Sequence[OptionGroup], foot: str, width: int) -> str:
    """head, the groups with their options, and foot, in lines of at most `width` characters where words allow it."""
    formatter = _UnbrokenNames("", max_help_position=_OPTION_COLUMNS, width=width)
    parts = [head]
    for group in groups:
        formatter.start_section(group.title)
        formatter.add_arguments(_shown(parser, group.flags))
        formatter.end_section()
    return "\n".join([*parts, formatter.format_help(), foot])


def _shown(parser: ArgumentParser, flags: Iterable[str]) -> list[Action]:
    """The options, each with its default behind its help where that is a value."""
    return [_with_default(parser._option_string_actions[flag]) for flag in flags]


def _with_default(action: Action) -> Action:
    if len(list(action.choices or ())) > MOST_CHOICES:
        action.metavar = "NAME"
    text = action.help
    if not text or text is SUPPRESS:
        return action
    default = action.default
    is_value = isinstance(default, str | int | float) and default not in ("", None) and not isinstance(default, bool)
    shown = f" (default: {default})" if is_value and "default" not in text.lower() else ""
    action.help = text.replace("%", "%%") + shown.replace("%", "%%") if "%(" not in text else text + shown
    return action
