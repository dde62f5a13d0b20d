"""Which models the requests of a run name: --model, those of --models, or those that rows of the prompts name."""

from __future__ import annotations

import logging
from dataclasses import replace

from tokenswarm.client.model_mix import MOST_MODELS
from tokenswarm.client.option_values import OptionError
from tokenswarm.client.request_options import ChatOptions, engine_of, model_for
from tokenswarm.client.workload import load_workload
from tokenswarm.metrics.mix import MixMember
from tokenswarm.prompts import PromptSet
from tokenswarm.sanitize import server_text

logger = logging.getLogger(__name__)

#: Names that a sentence states, and characters of each: a server chose those that it lists.
_MOST_NAMED = 20
_MOST_CHARACTERS = 200


def models_of_run(options: ChatOptions) -> tuple[MixMember, ...]:
    """The models that requests name, with the shares that are requested of them; `options` names the run's own. Raises
    OptionError for more than statistics are kept of."""
    if options.models is not None:
        return tuple(map(MixMember, options.models.names, options.models.shares))
    names = sorted({model_for(options, name) for name in _of_rows(options) or {""}})
    if len(names) > MOST_MODELS:
        raise OptionError(
            f"--prompts: rows name {len(names)} models, and statistics are kept of {MOST_MODELS} at most; give --model "
            "or --models, which replace the models of rows."
        )
    return tuple(map(MixMember, names))


def label_of(options: ChatOptions) -> str:
    """The run's model as results name it; several with their shares, or as rows name them."""
    if options.models is not None:
        return options.models.text
    return ", ".join(member.name for member in models_of_run(options))


def with_default_model(options: ChatOptions) -> ChatOptions:
    """The options; where every row of the prompts names a model and --model none, with one of these as the run's own,
    so that the server need not serve one alone."""
    names = _of_rows(options)
    if options.model or not options.control.row_models or not names or "" in names:
        return options
    return replace(options, model=min(names))


def log_models(options: ChatOptions) -> None:
    """Which models are requested, where that is not --model alone."""
    named = sorted(_of_rows(options) - {""})
    if named and not options.control.row_models and set(named) != {options.model}:
        reason = "--model or --models is given"
        if not engine_of(options).requests_name_model:
            reason = f"requests to {options.engine} name no model"
        logger.warning("%s: the models that rows of --prompts name (%s) are not requested", reason, _list(named))
    if len(models_of_run(options)) > 1 or (named and options.control.row_models):
        logger.info("Requests name %s", label_of(options))


def warn_of_unlisted(options: ChatOptions, listed: list[str]) -> None:
    """Once the server has answered: a preflight that fails names the models itself. listed: those that the server
    lists, if any."""
    models = [member.name for member in models_of_run(options)]
    unknown = [name for name in models if listed and name and name not in listed]
    if unknown:
        logger.warning("The server does not list %s; it lists %s", _list(unknown), _list(listed))


def _of_rows(options: ChatOptions) -> set[str]:
    """The models that rows of the prompts name, "" among them for rows that name none."""
    prompts = load_workload(options).prompts
    return set(prompts.stats.models) if isinstance(prompts, PromptSet) else set()


def _list(names: list[str]) -> str:
    more = ", …" if len(names) > _MOST_NAMED else ""
    return ", ".join(repr(server_text(name, _MOST_CHARACTERS)) for name in names[:_MOST_NAMED]) + more
