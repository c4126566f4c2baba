"""Component x backend x cache, every pair tried: `python3 tasks.py matrix`.

A cell says "yes" where the scores over a cache are those of one pass, both are those of the formula (the backend
``manual``), and so are the gradients where the backend trains on this machine, for whole and for padded texts.
Rows and columns come from the registry.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from ablation.components.attention_backend import Feature
from ablation.components.context import Cache
from ablation.config.layered import read_base
from ablation.model.build import build_model
from ablation.model.generate import cacheable
from ablation.registry import REGISTRY
from ablation.rng import generator
from support.components import CONFIG_PATHS, settings_for
from support.small_grids import BASE, TINY

SLOTS = ("mixer", "position", "rope_scaling", "qk_norm", "block", "norm", "feedforward", "residual")
SLOTS += ("embedding", "lm_head")
FEATURES: dict[str, dict[str, Any]] = {
    "bias": {"model.position": "alibi"},
    "dropout": {"model.mixer.dropout": 0.5},
    "grouped_query": {"model.n_kv_heads": 2},
    "soft_cap": {"model.mixer.soft_cap": 2.0},
    "sinks": {"model.mixer.sinks": True},
    "value_dim": {"model.mixer": "differential"},
}
"""A model that needs each of what not every backend carries."""
OWN = "its own"
"""The backend of mixers that leave their sums to none."""
CACHES = {"no cache": (12,), "token by token": (1,) * 12, "in chunks": (5, 1, 4, 2)}
SLOW = {"no cache": (12,), "token by token": (8, 1, 1, 1, 1), "in chunks": (5, 4, 3)}
"""For a backend that traces every shape anew."""
TOLERANCE = 1e-10

TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
WHOLE = torch.ones(3, 12, dtype=torch.bool)
PADDED = torch.arange(12) >= 3 * torch.arange(3)[:, None]  # on the left, none in the first text


@dataclass(frozen=True)
class Row:
    """What is tried with every backend: a component in its place, or several."""

    parts: tuple[tuple[str, str], ...]
    """(slot, name)."""
    changes: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)

    @property
    def label(self) -> str:
        return " x ".join(name for _, name in self.parts)

    @property
    def mixer(self) -> str:
        return str(self.changes.get("model.mixer", "attention"))

    @property
    def backends(self) -> list[str]:
        return (
            list(REGISTRY["attention_backend"])
            if "backend" in REGISTRY["mixer"][self.mixer].hyperparameters()
            else [OWN]
        )


def rows() -> Iterator[Row]:
    """A component each, and what backends may not carry."""
    for slot in SLOTS:
        for name in REGISTRY[slot]:
            yield Row(((slot, name),), settings_for(slot, name))
    assert set(FEATURES) == set(get_args(Feature)), "name a model that needs the new feature"
    for name, changes in FEATURES.items():
        yield Row((("feature", name),), changes)


def pairs_of_mixers(slot: str) -> Iterator[Row]:
    """Every mixer with every component of the slot."""
    for mixer in REGISTRY["mixer"]:
        for name in REGISTRY[slot]:
            yield Row((("mixer", mixer), (slot, name)), settings_for("mixer", mixer) | {CONFIG_PATHS[slot]: name})


@cache
def base() -> Any:
    draft = read_base(BASE)
    for path, value in TINY.items():
        draft.set(path, value, draft.base, ())
    return draft


def make(row: Row, backend: str) -> nn.Module:
    """The row's tiny model in float64, every parameter off its first value, the same for every backend."""
    draft = base().copy()
    chosen = {} if backend == OWN else {"model.mixer.backend": backend}
    for path, value in (row.changes | chosen).items():
        draft.set(path, value, draft.base, ())
    model = build_model(draft.build().model, 11, 12, 0).double().eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator(0, path), dtype=torch.float64)
    return model


def read(model: nn.Module, padding: Tensor, parts: tuple[int, ...]) -> Tensor:
    """Scores of the real tokens, handed over in parts, by way of a cache if there are several."""
    kept = Cache() if len(parts) > 1 else None
    masks = [None] * len(parts) if padding.all() else padding.split(parts, 1)
    texts = zip(TOKENS.split(parts, 1), masks, strict=True)
    return torch.cat([model(text, padding=mask, cache=kept) for text, mask in texts], 1)[padding]


def gradients(model: nn.Module, padding: Tensor) -> list[Tensor]:
    scores = read(model, padding, CACHES["no cache"])
    wanted = torch.randn(scores.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return list(torch.autograd.grad((scores * wanted).sum(), list(model.parameters()), allow_unused=True))


@cache
def truth(row: Row) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Scores and gradients of the formula, for whole and for padded texts."""
    model = make(row, "manual" if OWN not in row.backends else OWN)
    with torch.no_grad():
        scores = [read(model, padding, CACHES["no cache"]) for padding in (WHOLE, PADDED)]
    return scores, [gradients(model, padding) for padding in (WHOLE, PADDED)]


@cache
def examine(row: Row, backend: str) -> dict[str, str]:
    """By the cache: "yes", or "refused: why". Errors: AssertionError where numbers differ."""
    try:
        model = make(row, backend)
    except ValueError as refusal:
        why = str(refusal)
        parts = [backend, *(name for _, name in row.parts)]
        assert any(name in why for name in parts), f"{row.label} on {backend} is refused and neither is named: {why}"
        return dict.fromkeys(CACHES, f"refused: {why}")
    slow = backend == "flex"
    scores, slopes = truth(row)
    found = {}
    with torch.no_grad():
        for way, parts in (SLOW if slow else CACHES).items():
            if len(parts) > 1 and not cacheable(model):
                found[way] = f"refused: {row.label} cannot go on from a cache"
                continue
            for padding, expected in list(zip((WHOLE, PADDED), scores, strict=True))[slow:]:
                close(read(model, padding, parts), expected, f"{row.label} on {backend}, {way}")
            found[way] = "yes"
    if trains(model, backend):
        for padding, expected in zip((WHOLE, PADDED), slopes, strict=True):
            for (path, _), got, wanted in zip(
                model.named_parameters(), gradients(model, padding), expected, strict=True
            ):
                assert (got is None) == (wanted is None), path
                if got is not None:
                    close(got, wanted, f"{row.label} on {backend}, gradient of {path}")
    return found


def trains(model: nn.Module, backend: str) -> bool:
    """Whether the backend trains here. Errors: AssertionError where it says that it does not in the wrong words."""
    if backend != "flex":
        return True
    try:
        model(TOKENS)
    except ValueError as refusal:
        assert "'flex' cannot train on a CPU" in str(refusal)
        return False
    return True


def close(got: Tensor, expected: Tensor, what: str) -> None:
    difference = float((got - expected).abs().max() / expected.abs().max().clamp(min=1))
    assert difference < TOLERANCE, f"{what}: {difference:.1e} from the formula"


def table(tried: Callable[[Row, str], dict[str, str]] = examine) -> Table:
    """Rows: components; columns: backends, and in each whether every way of reading is the formula."""
    columns = [*REGISTRY["attention_backend"], OWN]
    shown = Table(title="component x backend x cache", title_justify="left", box=None)
    for heading in ("slot", "component", *columns):
        shown.add_column(heading, no_wrap=heading in ("slot", "component"))
    last = None
    for row in rows():
        cells = []
        for backend in columns:
            found = tried(row, backend) if backend in row.backends else {}
            short = {way: said.partition(": choose ")[0] for way, said in found.items()}
            ways = {said: [way for way in short if short[way] == said] for said in short.values()}
            cells.append("; ".join(said if len(of) == len(CACHES) else f"{said} {of}" for said, of in ways.items()))
        slot = row.parts[0][0]
        shown.add_row(slot if slot != last else "", row.label, *cells)
        last = slot
    return shown


def main() -> None:
    console = Console()
    console.print(table())
    console.print(f'"yes": in one pass, token by token and in chunks, and its gradients, to {TOLERANCE}')


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
