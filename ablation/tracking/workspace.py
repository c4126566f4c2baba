"""The workspace of a grid in W&B: a saved view of its runs alone, and a report with the same.

Both are made from what ``Dashboard`` holds. No panel of W&B has paired differences, their intervals or a correction for
many comparisons, so that what was found stands in them as text, and as a table in the report.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..store.files import read_json, write_json
from .mirror import line_of
from .mode import Mode
from .session import ENVIRONMENT, config_key, set_environment

NAME = "workspace.json"
"""In the folder of a grid: where its workspace is, and what was saved."""
REPORT = "wandb_report.json"
"""There too: where its report is."""
EFFICIENCY = ("tokens_per_second", "parameters", "training_seconds")
"""In the summaries of runs."""
MOST_CURVES = 100
MOST_FACTORS = 6
"""With a panel of their own."""


@dataclass(frozen=True)
class Dashboard:
    """What is shown of a grid."""

    grid: str
    question: str | None
    sentence: str
    """What came out."""
    table: str
    """The comparison as Markdown."""
    factors: Sequence[str]
    """The short names of those that vary."""
    metric: str
    better: str | None
    stability: Sequence[str]
    """Names of measures in the summaries of runs."""

    @property
    def view_name(self) -> str:
        """Of the saved view, the same for the same grid, so that it is updated."""
        return f"nw-{hashlib.sha256(self.grid.encode()).hexdigest()[:12]}-v"

    @property
    def text(self) -> str:
        asked = f"**{self.question}**\n\n" if self.question else ""
        return f"{asked}{self.sentence}\n\n`ablate table {self.grid}` has the intervals and tests."


def workspace(dashboard: Dashboard, entity: str, project: str) -> Any:
    """The view, as wandb-workspaces has it: the result, curves, final values, stability and cost, the table of runs."""
    import wandb_workspaces.expr as ex
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    final, keys = f"final_{dashboard.metric}", _factor_keys(dashboard)
    several, bars = len(keys) > 1, partial(_bars, dashboard)
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"ablate: {dashboard.grid}",
        auto_generate_panels=False,
        settings=ws.WorkspaceSettings(x_axis="tokens", max_runs=MOST_CURVES, smoothing_type="none"),
        runset_settings=ws.RunsetSettings(
            filters=ex.And(ex.Tags().isin([dashboard.grid]), ex.Metric("JobType") != "summary"),
            groupby=[ex.Config(_cell_key(dashboard))],
            order=[ex.Ordering(ex.Summary(final), ascending=dashboard.better != "higher")],
            pinned_columns=[f"summary:{final}", "summary:status", *(f"config:{key}.value" for key in keys)],
        ),
        sections=[
            ws.Section(name="Result", is_open=True, panels=[wr.MarkdownPanel(markdown=dashboard.text)]),
            ws.Section(name="Curves", is_open=True, panels=_curves(dashboard)),
            ws.Section(
                name="Final values",
                is_open=True,
                panels=[
                    bars(final),
                    *([_coordinates(dashboard, final)] if several else []),
                    *([wr.ParameterImportancePlot(with_respect_to=final)] if several else []),
                ],
            ),
            ws.Section(
                name="Stability", panels=[_norms(dashboard), *(_bars(dashboard, n) for n in dashboard.stability)]
            ),
            ws.Section(name="Cost", panels=[*map(bars, EFFICIENCY)]),
        ],
    )


def report_of(dashboard: Dashboard, entity: str, project: str) -> Any:
    """The report: the question, what was found as text and table, and the panels of the view."""
    import wandb_workspaces.expr as ex
    import wandb_workspaces.reports.v2 as wr

    runset = wr.Runset(
        entity=entity, project=project, name=dashboard.grid, filters=ex.And(ex.Tags().isin([dashboard.grid]))
    )
    panels = [*_curves(dashboard), _bars(dashboard, f"final_{dashboard.metric}")]
    blocks = [
        wr.H1(dashboard.question or dashboard.grid),
        wr.MarkdownBlock(dashboard.sentence),
        wr.MarkdownBlock(dashboard.table),
        wr.PanelGrid(runsets=[runset], panels=panels),
        wr.MarkdownBlock(f"`ablate report {dashboard.grid}` writes a page with all figures and tests."),
    ]
    return wr.Report(
        entity=entity, project=project, title=f"ablate: {dashboard.grid}", description=dashboard.sentence, blocks=blocks
    )


def save_workspace(
    dashboard: Dashboard, folder: Path, project: str, entity: str | None, say: Callable[[str], None]
) -> str | None:
    """Save the view; returns its address. Whatever goes wrong is one line, and costs no result."""
    environment = set_environment(ENVIRONMENT)
    try:
        view = workspace(dashboard, entity or _own_entity(), project)
        view._internal_name = dashboard.view_name
        view.save()
        address: str = view.url
        write_json(folder / NAME, {"url": address, "view": dashboard.view_name, "spec": specification(view)})
    except Exception as error:
        say(f"W&B: the workspace of {dashboard.grid} was not saved: {line_of(error)}")
        return None
    finally:
        set_environment(environment)
    return address


def save_report(dashboard: Dashboard, folder: Path, project: str, entity: str | None, mode: Mode) -> str:
    """Save the report, in place of the one before; returns its address. Errors: InputError; StorageError."""
    if mode.mode != "online":
        raise InputError(f"--wandb: W&B is {mode.mode}{f' ({mode.reason})' if mode.reason else ''}")
    environment = set_environment(ENVIRONMENT)
    try:
        report = report_of(dashboard, entity or _own_entity(), project)
        report.id = _saved(folder / REPORT).get("id", "")
        report.save()
        address: str = report.url
    except Exception as error:
        raise InputError(f"--wandb: the report was not saved: {line_of(error)}") from None
    finally:
        set_environment(environment)
    write_json(folder / REPORT, {"id": report.id, "url": address})
    return address


def saved_address(folder: Path) -> str | None:
    """Of the workspace of a grid, whose folder this is; None where none was saved. Errors: StorageError."""
    address = _saved(folder / NAME).get("url")
    return address if isinstance(address, str) and address.startswith(("https://", "http://")) else None


def _saved(file: Path) -> Mapping[str, Any]:
    found = read_json(file) if file.is_file() else None
    return found if isinstance(found, dict) else {}


def specification(view: Any) -> Mapping[str, Any]:
    """What W&B gets of a view, as plain data."""
    found: Mapping[str, Any] = view._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def _own_entity() -> str:
    """That of whoever is logged in."""
    import wandb

    found = wandb.Api(timeout=20).default_entity
    if not found:
        raise InputError("no entity is known: set tracking.entity")
    return str(found)


def _cell_key(dashboard: Dashboard) -> str:
    return f"cell_{config_key(dashboard.grid)}"


def _factor_keys(dashboard: Dashboard) -> list[str]:
    return [f"factor_{name}" for name in dashboard.factors]


def _curves(dashboard: Dashboard) -> list[Any]:
    """The metric over tokens: a line for each cell, then for the levels of each factor, with the standard error."""
    import wandb_workspaces.reports.v2 as wr

    named = [("each cell", _cell_key(dashboard))]
    if len(dashboard.factors) > 1:
        pairs = zip(dashboard.factors, _factor_keys(dashboard), strict=True)
        named += [(f"the levels of {name}", key) for name, key in list(pairs)[:MOST_FACTORS]]
    return [
        wr.LinePlot(
            title=f"Validation {dashboard.metric} of {what}",
            x="tokens",
            y=[f"validation/{dashboard.metric}"],
            groupby=wr.Config(key),
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
            max_runs_to_show=MOST_CURVES,
        )
        for what, key in named
    ]


def _norms(dashboard: Dashboard) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title="Gradient norm of each cell",
        x="tokens",
        y=["train/gradient_norm"],
        groupby=wr.Config(_cell_key(dashboard)),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=MOST_CURVES,
        log_y=True,
    )


def _bars(dashboard: Dashboard, name: str) -> Any:
    """The mean of each cell."""
    import wandb_workspaces.reports.v2 as wr

    return wr.BarPlot(
        title=f"{name}: mean of each cell",
        metrics=[name],
        groupby=wr.Config(_cell_key(dashboard)),
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
        max_bars_to_show=MOST_CURVES,
    )


def _coordinates(dashboard: Dashboard, final: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key)) for key in _factor_keys(dashboard)]
    return wr.ParallelCoordinatesPlot(
        columns=[*columns, wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(final))]
    )
