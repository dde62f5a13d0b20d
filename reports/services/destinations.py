"""The services that `--to` names besides files: checked before a folder is read, and exported to after its report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tokenswarm.reports.services.mlflow_export import check_mlflow, export_mlflow
from tokenswarm.reports.services.otlp_export import check_otlp, export_otlp
from tokenswarm.run_folder.reader import Results


class Destination(NamedTuple):
    """check: of a place, raises ReportError; export: sends a run there and returns a line about it, raises ReportError
    and ExportFailed."""

    check: Callable[[str], Any]
    export: Callable[[Results, str], str]


#: By the name that --to takes.
DESTINATIONS = {"otlp": Destination(check_otlp, export_otlp), "mlflow": Destination(check_mlflow, export_mlflow)}
