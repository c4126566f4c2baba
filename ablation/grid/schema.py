"""The schema of grid.yaml: the keys of a study, and of a claim that it tests."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ..registry import ComponentConfig, Config, Slot, component
from .design import Design
from .search import Searcher
from .tried import Tried


class CellPair(Config):
    """Two cells, each given by the levels in which it differs from the baseline.

    A factor is written as its path or as the end of its path.
    """

    cell: dict[str, Any] = {}  # noqa: RUF012  pydantic copies it
    than: dict[str, Any] = {}  # noqa: RUF012


class Expectation(CellPair):
    """The expected difference between a measure of one cell and that of another, by default of the baseline."""

    measure: str
    """A measure of the runs, as `ablate table` names it, or a probe of the untrained model."""
    than_measure: str | None = None
    """The measure of the other cell, such as loss@4x against loss; null: the same measure."""
    expected: Literal["higher", "lower", "equivalent", "not higher", "not lower"]
    margin: Annotated[float, Field(ge=0)] | None = None
    """The size that the confidence interval of the difference has to exceed, or for equivalence to stay within. What is
    "not higher" may be lower by any amount, and higher by less than the margin, which it needs."""
    number: float | None = None
    """Compare with this number instead of another cell."""
    beyond: CellPair | None = None
    """Compare with the difference between these two cells: the expectation is about an interaction."""
    ratio: bool = False
    """Whether to compare logarithms; the margin is then a difference of logarithms."""

    @model_validator(mode="after")
    def check_margin(self) -> Self:
        if self.margin is None and self.expected in ("not higher", "not lower"):
            raise ValueError(f"margin: is missing; {self.expected!r} means by less than that")
        return self


REASON = "reason"
"""The key of an exclusion beside its levels."""
NO_LEVEL = "n/a"
"""The label of the level of a factor that does not exist in a cell."""

Answer = Literal["supported", "contradicted", "not resolved"]


class Search(Config):
    """What was tried for some arms of a claim on its pilot seeds, before the runs that it rests on.

    An arm runs with one of the values that were tried. Every arm needs as many settings, the product of the numbers of
    values.
    """

    arms: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """Cells, each given by the levels in which it differs from the baseline."""
    tried: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]
    """The values that were tried, by path."""


class Replication(Config):
    """The answer of `ablate claim --fresh`, on seeds that nobody had seen."""

    seed: NonNegativeInt
    """What the seeds were derived from."""
    seeds: PositiveInt
    """How many there were."""
    answer: Answer
    data: str | None = None
    """The first digits of the fingerprint of the data, where they are not generated."""


class ClaimConfig(Config):
    """A statement of the literature, its source, and the results by which it would be confirmed.

    What was chosen on a seed is not tested on it, each arm gets the same search, and "supported" has been replicated.
    """

    statement: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    expect: Annotated[list[Expectation], Field(min_length=1)]
    pilot_seeds: list[NonNegativeInt] | None = None
    """The seeds of all runs that were seen while the claim was written, none of which is among `seeds`; null: unnamed,
    which is said beside every answer."""
    search: list[Search] = []  # noqa: RUF012  pydantic copies it
    """What was tried for each arm; needed where models are trained and the learning rate is no factor."""
    answer: Answer | None = None
    """What came out on `seeds` and in the replications together; null: not yet known."""
    replications: list[Replication] = []  # noqa: RUF012
    """All runs of `ablate claim --fresh` at these settings, whatever came out."""


class OverrideConfig(Config):
    """What cells set that have some levels, beside what the levels set."""

    cells: dict[str, Any]
    """The levels that they have, by factor."""
    set: Annotated[dict[str, Any], Field(min_length=1)]
    """Paths and their values."""


class MatchConfig(Config):
    """Cells are brought to the baseline's size by one setting that is free."""

    quantity: Literal["parameters", "flops", "time"]
    """What is equal: the parameters, the FLOPs of the forward passes of all training, or its time. Steps are timed when
    the grid is first run, interleaved and once for all seeds; `by` is training.max_steps then."""
    by: Annotated[str, Field(min_length=1)]
    """The path of the setting that is free: model.feedforward.expansion, model.d_model, model.n_layers, or for FLOPs
    training.max_steps."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """How far from the baseline's a cell may be, relative to it, without a mark."""
    multiple_of: PositiveInt = 1
    """Of a whole number: what it must be a multiple of, such as the heads of d_model."""
    as_is: bool = False
    """Whether each cell is also run as it is, beside the matched one."""


class TuneConfig(Config):
    """Settings that are tuned for every cell alike, the baseline included, on seeds that nothing is reported on."""

    settings: Annotated[dict[str, Tried], Field(min_length=1)]
    """By path, the values that are tried: a list, `{times: [0.3, 1, 3]}` or `{low: 1e-4, high: 1e-2, n: 5}`."""
    search: Annotated[ComponentConfig[Searcher], Slot("searcher")] = component("searcher", "grid")
    """Which of them are tried: by default every combination; with `random`, `successive_halving` or `optuna` so many,
    for each cell alike."""
    seeds: PositiveInt = 2
    """The number of tuning seeds, which are never among the reporting ones."""
    extend: bool = False
    """Whether a best value at the edge adds the next one beyond it, for all cells; at most three times each way."""


class ControlsConfig(Config):
    """Runs whose outcome is known before, which are said above the table."""

    a_a: bool = True
    """Whether the baseline is trained on as many other seeds, where no difference should be found."""
    determinism: bool = True
    """Whether the baseline's first run is trained twice, which should give the same numbers."""
    known_bad: dict[str, Any] = {}  # noqa: RUF012
    """Paths and values that make the baseline worse, which should be found; empty: no such arm."""


class GridConfig(Config):
    """The keys of grid.yaml."""

    name: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    base: str = "../base.yaml"
    """The baseline: a file, relative to this one, or the name of a known model such as gpt2."""
    question: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """What the study asks, which stands above its results; null: the first comment of the file that ends with `?`."""
    set: dict[str, Any] = {}  # noqa: RUF012  pydantic copies it
    """Paths and their values in every cell."""
    factors: Annotated[dict[str, list[Any]], Field(min_length=1)]
    """Paths and the levels of each. A level that sets several paths is `{label: lstm, set: {model.mixer: lstm,
    model.position: none}}`; a factor with only such levels may have any name."""
    zip: list[list[str]] = []  # noqa: RUF012
    """Factors that vary together: the first level of one with the first of the others, and so on."""
    when: dict[str, Annotated[dict[str, Any], Field(min_length=1)]] = {}  # noqa: RUF012
    """By factor, the levels of others under which alone it exists: one level or a list of levels, by factor."""
    baseline: dict[str, Any] = {}  # noqa: RUF012
    """The levels of the baseline; a factor that is not named is at its first level."""
    design: Annotated[ComponentConfig[Design], Slot("design")] = component("design", "factorial")
    cells: list[Annotated[dict[str, Any], Field(min_length=1)]] = []  # noqa: RUF012
    """The cells beside the baseline, instead of a design: each by the levels in which it differs from the baseline."""
    exclude: list[Annotated[dict[str, Any], Field(min_length=1)]] = []  # noqa: RUF012
    """Levels by factor; a cell that has all levels of one of these mappings is left out. `reason` says why."""
    overrides: list[OverrideConfig] = []  # noqa: RUF012
    """What cells with some levels set beside them, such as a longer warm-up."""
    seeds: PositiveInt | Annotated[list[NonNegativeInt], Field(min_length=1)] = 5
    """The number of replicates, or a list of seeds."""
    metric: str | None = None
    """The measure that verdicts on quality are about, such as loss@4x; null: the task's own."""
    margins: dict[str, Annotated[float, Field(ge=0)]] = {}  # noqa: RUF012
    """By measure, the smallest difference that matters; other measures have the default that `ablate table` shows."""
    allow: list[str] = []  # noqa: RUF012
    """What may differ between cells although their quality cannot be compared then: task, unit, classes, validation."""
    interim_looks: Annotated[list[Annotated[int, Field(ge=3)]], Field(min_length=1)] | None = None
    """Numbers of seeds after which `ablate run --until-decided` makes an interim analysis, such as [5, 8, 12]."""
    match: MatchConfig | None = None
    """What is made equal to the baseline's in every cell, and by which setting; null: cells stand as they are."""
    tune: TuneConfig | None = None
    """What is tuned for each cell before it is compared; null: all cells have the same recipe."""
    controls: ControlsConfig | None = None
    """Runs that show whether the study can be trusted; null: none."""
    variance: Literal["shared", "own"] = "shared"
    """Whether tests of the cells share their variances within a bound, or each has its own."""
    claim: ClaimConfig | None = None
    """The claim that `ablate claim` tests with this grid."""


REQUIREMENTS = {
    "name": "must be 1 to 80 letters, digits, '.', '_' or '-', and start with a letter or digit",
    "seeds": "must be a number of replicates, at least 1, or a list of different whole numbers, at least 0",
}
"""By key, what its value must be, where pydantic's own message would be hard to read."""
