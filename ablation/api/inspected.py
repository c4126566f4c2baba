"""What is inside trained models, as an object that shows and saves itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store.runs import Store
from ..study.training import ignore

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console, ConsoleOptions, RenderResult

    from ..compare.inside import InsideComparison
    from ..inspect.record import How
    from ..study.training import MessageCallback


def inspect_models(
    name: str,
    how: "How | None" = None,
    text: str | None = None,
    n_shown: int = 4,
    plugins: Sequence[str | Path] = (),
    runs: str | Path = "runs",
    on_message: "MessageCallback" = ignore,
) -> "Inspected":
    """Look inside trained models: what heads do and attend to, and what is lost without each part, over seeds.

    Args:
        name: ``GRID:CELL`` for all seeds of a cell, ``GRID`` for all cells, or the id of one run.
        how: which knock-outs, and on how many validation examples.
        text: what the maps are of; by default the first ``n_shown`` validation examples.
        plugins: the files that the runs were trained with.
        runs: where the runs are.
        on_message: is called with what is done next.

    Errors: InputError where there is no such run, or none of it has weights.
    """
    from ..compare.inside import compare_inside
    from ..inspect.record import How
    from ..study.inspection import inspect_runs

    store = Store(Path(runs))
    found = inspect_runs(store, name, how or How(), text, n_shown, [Path(plugin) for plugin in plugins], on_message)
    grid = found.data["grid"]
    directory = None if grid is None else store.grid_directory(grid)
    return Inspected(compare_inside(found.data, found.labels), found.maps, tuple(found.stale), directory)


@dataclass(frozen=True)
class Inspected:
    """What was found inside trained models; printed by rich it shows its tables."""

    comparison: "InsideComparison"
    maps: Mapping[str, list[dict[str, Any]]]
    """By run, the attention maps of each example: see ``inspect.maps.maps_as_data``."""
    stale: tuple[str, ...]
    """Runs that were trained by other code than today's."""
    directory: Path | None
    """The folder of the grid; None for a run by its id."""

    def save_page(
        self, file: str | Path | None = None, pictures: str | Path | None = None
    ) -> tuple[Path | None, list[Path]]:
        """Write the page, by default as inside.html into the grid's folder, and its figures into ``pictures``.

        Returns the files; of a run by its id there is no page without ``file``. Errors: StorageError.
        """
        from ..report.html.inside import write_inside

        page = Path(file) if file is not None else None if self.directory is None else self.directory / "inside.html"
        return page, write_inside(self.comparison, self.maps, page, None if pictures is None else Path(pictures))

    def frame(self) -> "DataFrame":
        """One row for each cell, seed, part and measure: ``value`` is that of the model without the part.

        ``part`` is empty for the whole model; ``intact`` is the value of that.
        """
        from pandas import DataFrame

        rows = [
            (cell.label, seed, run, family, part, name, value, cell.intact[name][index])
            for cell in self.comparison.cells
            for part, family, measured in [
                ("", "", cell.intact),
                *((each.part, each.family, each.without) for each in cell.knockouts),
            ]
            for name, values in measured.items()
            for index, (seed, run, value) in enumerate(zip(cell.seeds, cell.runs, values, strict=True))
        ]
        return DataFrame(rows, columns=["cell", "seed", "run", "family", "part", "measure", "value", "intact"])

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from ..report.render.inside import render

        yield render(self.comparison, options.max_width)
