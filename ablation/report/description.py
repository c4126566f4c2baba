"""What ``ablate show`` prints: a run's status, its configuration, and its parameters by role."""

import re
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..store.results import VARIANTS
from ..yaml import to_text
from .labels import metric_name, plain

_REPEATED = re.compile(r"\b(blocks|experts)\.\d+")


def render(description: Mapping[str, Any]) -> RenderableType:
    """The result of ``ablate show`` for the terminal."""
    status = f"run {description['run']}: {description['status']}, seed {description['seed']}"
    parts: list[RenderableType] = [Text(status, style="bold")]
    if description["reason"]:
        parts.append(Text(plain(description["reason"])))
    if description["stale_code"]:
        parts.append(Text("trained by other code than today's"))
    if description["metrics"]:
        final = {name: value for name, value in description["metrics"].items() if not name.endswith(VARIANTS)}
        parts.append(Text("; ".join(f"{metric_name(name)} {_number(value)}" for name, value in final.items())))
    parts += [Text(), Text("\n".join(map(printable, to_text(description["config"]).rstrip().split("\n")))), Text()]
    if description["parameters_missing"]:
        return Group(*parts, Text(plain(f"its parameters are not known: {description['parameters_missing']}")))
    return Group(*parts, _parameters(description["parameters"]), Text(_decay(description), style="dim"))


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1000 else f"{value:.5g}"


def _parameters(parameters: list[dict[str, Any]]) -> Table:
    """A row for each role and whether it decays, and below it one for each path, the same in all layers."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("role and parameters", overflow="fold")
    for heading in ("decay", "shape"):
        table.add_column(heading, no_wrap=True)
    for heading in ("tensors", "parameters"):
        table.add_column(heading, justify="right", no_wrap=True)
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for each in parameters:
        groups.setdefault((each["role"], each["decays"]), []).append(each)
    for (role, decays), members in sorted(groups.items(), key=lambda group: not group[0][1]):
        word, total = "yes" if decays else "no", sum(each["count"] for each in members)
        table.add_row(Text(printable(role)), word, "", str(len(members)), f"{total:,}", style="bold")
        alike: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for each in members:
            key = _REPEATED.sub(r"\1.*", each["path"]), tuple(each["shape"])
            alike.setdefault(key, []).append(each["count"])
        for (path, shape), counts in alike.items():
            sides = " x ".join(map(str, shape)) or "scalar"
            table.add_row(Text(f"  {printable(path)}"), "", sides, str(len(counts)), f"{sum(counts):,}")
    return table


def _decay(description: Mapping[str, Any]) -> str:
    """How many parameters decay, by which convention."""
    parameters, decay = description["parameters"], description["decay"]
    decaying, total = (sum(each["count"] for each in parameters if each["decays"] or every) for every in (False, True))
    without = "" if decay["decay_embeddings"] else " without embeddings"
    trained = description["trained_parameters"]
    first = "" if trained is None else f"{trained:,} parameters are trained, beside {total:,} of the model; "
    return (
        f"{first}{decaying:,} of {total:,} parameters decay (optimizer.decay_on: {decay['decay_on']}{without}), "
        f"with weight_decay {decay['weight_decay']}"
    )
