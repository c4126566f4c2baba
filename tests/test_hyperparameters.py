"""Every hyper-parameter of every component does something: other values are found from its type and its bounds."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import torch
import yaml
from pydantic import ValidationError
from test_components import EVERY, PLACES
from torch import nn
from torch.nn.functional import cross_entropy

from ablation.config import dump, load
from ablation.data.task import Task
from ablation.models import build_model
from ablation.registry import REGISTRY, slot_of
from ablation.strict_yaml import parse

every_hyperparameter = pytest.mark.parametrize(
    ("slot", "name", "field"),
    [(slot, name, field) for slot, name in EVERY for field in REGISTRY[slot][name].hyperparameters()],
)


@every_hyperparameter
def test_no_hyperparameter_is_inert(slot: str, name: str, field: str, configure: Any, tmp_path: Path) -> None:
    def effect(hyper: dict[str, Any]) -> dict[str, Any]:
        place = PLACES[slot]
        if place is None:
            return {"built": vars(REGISTRY[slot][name](name=name, **hyper).build())}
        return EFFECTS.get(place, on_the_model)(configure({place: {"name": name, **hyper}}))

    default = effect({})
    assert differing(default, effect({})) == [], "not reproducible, so that nothing can be told"
    values = other_values(slot, name, field, tmp_path)
    assert values, "no other value was found"
    for value in values:
        assert differing(default, effect({field: value})), f"{value} changes nothing"


@every_hyperparameter
def test_every_value_survives_yaml(slot: str, name: str, field: str, configure: Any, tmp_path: Path) -> None:
    if PLACES[slot] is None:
        return
    for value in other_values(slot, name, field, tmp_path):
        config = configure({PLACES[slot]: {"name": name, field: value}})
        assert config != configure({PLACES[slot]: name})
        assert load(parse(yaml.safe_dump(dump(config)), "dumped.yaml").value) == config


def other_values(slot: str, name: str, field: str, folder: Path) -> list[Any]:
    """Plain values that the hyper-parameter takes and that are not its default."""
    kind = REGISTRY[slot][name]
    info, default = kind.model_fields[field], kind(name=name).model_dump(mode="json")[field]
    part = slot_of(info)
    if part is not None:
        return [{"name": other} for other in REGISTRY[part] if other != default["name"]]

    def fits(value: Any) -> bool:
        try:
            kind.model_validate_json(json.dumps({"name": name, field: value}))
        except ValidationError:
            return False
        return bool(value != default)

    return [
        next(filter(fits, group)) for group in candidates(info.annotation, default, folder) if any(map(fits, group))
    ]


def candidates(kind: Any, default: Any, folder: Path) -> Iterator[list[Any]]:
    """Groups of values of one type; the first of each that keeps to the bounds is tried."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from candidates(inner[0], default, folder)
    elif origin is Literal:
        yield from ([value] for value in inner)
    elif origin in (Union, UnionType):
        for part in inner:
            yield from candidates(part, default, folder)
    elif origin is tuple:
        for place, part in enumerate(inner):
            for group in candidates(part, default[place], folder):
                yield [[*default[:place], value, *default[place + 1 :]] for value in group]
    elif kind is bool:
        yield [True, False]
    elif kind is NoneType:
        yield [None]
    elif kind is int:
        yield [2 * default, default // 2, default + 1] if default else [1, 2]
    elif kind is float:
        yield [2 * default, default / 2] if default else [0.5, 1.5]
    elif kind is Path:
        file = folder / "another.txt"
        file.write_text("another text, which goes on and on. " * 100)
        yield [str(file)]
    else:
        raise AssertionError(f"say here which values a hyper-parameter of type {kind} can have")


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What is not the same, to the last bit, in two effects."""

    def same(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b

    return [
        key for key in one.keys() | other.keys() if not (key in one and key in other and same(one[key], other[key]))
    ]


def on_the_model(config: Any) -> dict[str, Any]:
    """Parts, first weights, outputs in training and after, gradients; over more tokens than T5 has buckets."""
    model = build_model(config.model, 11, 40, 0).double()
    tokens = torch.randint(11, (2, 40), generator=torch.Generator().manual_seed(0))
    effect: dict[str, Any] = {"parts": [type(module).__qualname__ for module in model.modules()]}
    effect |= {f"weight {path}": parameter.detach().clone() for path, parameter in model.named_parameters()}
    torch.manual_seed(0)
    outputs = model(tokens)
    cross_entropy(outputs.flatten(0, 1), tokens.roll(-1, 1).flatten()).backward()
    effect |= {f"gradient {path}": parameter.grad for path, parameter in model.named_parameters()}
    return effect | {"training": outputs.detach(), "trained": model.eval()(tokens).detach()}


def on_the_data(config: Any) -> dict[str, Any]:
    """What is trained on, what is scored and how, and how much the loader hands out at once."""
    task: Task = config.data.build()
    effect: dict[str, Any] = {"metrics": list(task.metrics()), "batch": task.batch_size}
    effect |= {f"training {key}": tensor for key, tensor in task.training(0, 0).items()}
    return effect | {f"validation {key}": tensor for key, tensor in task.validation().items()}


def on_the_steps(config: Any) -> dict[str, Any]:
    """Where a few steps lead."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(size, generator=generator).double()) for size in ((3, 4), (4,))]
    optimiser = config.optimiser.build().build(parameters)
    for _ in range(4):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator).double()
        optimiser.step()
    return {str(tuple(parameter.shape)): parameter.detach() for parameter in parameters}


def on_the_learning_rate(config: Any) -> dict[str, Any]:
    schedule = config.schedule.build()
    return {"factors": [schedule.factor(step, 40) for step in range(40)]}


EFFECTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "data": on_the_data,
    "optimiser": on_the_steps,
    "schedule": on_the_learning_rate,
}
