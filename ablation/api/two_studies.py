"""Two studies compared, as an object that shows itself."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from ..compare.two_studies import TwoStudies

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class StudyComparison(TwoStudies):
    """Two studies compared: ``pairs``, a comparison for each cell that both have, and ``differences`` beside them."""

    @classmethod
    def of(cls, result: TwoStudies) -> Self:
        """The same as what shows itself."""
        return cls(**{field.name: getattr(result, field.name) for field in fields(TwoStudies)})

    def table(self, format: str = "markdown") -> str:
        """The tables as text: "markdown", "latex", "csv" or "json". Errors: InputError for another format."""
        from ..report.render import known_format, render_two_studies

        return render_two_studies(self, known_format(format))

    def __repr__(self) -> str:
        return f"StudyComparison({self.b!r} minus {self.a!r}, {len(self.pairs)} cells, {len(self.seeds)} seeds)"

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from ..report.render import terminal
        from ..report.two_studies import sections

        yield terminal.render_sections(sections(self), options.max_width)
