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
from support.components import COMPONENTS, CONFIG_PATHS, LIST_SLOTS, TESTED_ELSEWHERE, settings_for
from torch.nn.functional import cross_entropy

from ablation.config.layered import dump, load
from ablation.model.build import build_model
from ablation.registry import REGISTRY, slot_of_field
from ablation.tasks.base import Task
from ablation.tasks.extra_metrics import all_metrics
from ablation.tasks.io.tokens import learn_byte_pairs
from ablation.yaml import parse

WITHOUT_EFFECT_HERE = {
    ("task", "classification", "class_names"),  # allows files that are refused else: tests/tasks
    ("task", "modular_addition", "length"),  # which is 3 for all
}
every_hyperparameter = pytest.mark.parametrize(
    ("slot", "name", "field"),
    [
        (slot, name, field)
        for slot, name in COMPONENTS
        for field in REGISTRY[slot][name].hyperparameters()
        if (slot, name) != ("initialization", "pretrained")  # whose file is its all: checkpoints/test_import.py
        and (slot, name, field) not in WITHOUT_EFFECT_HERE
    ],
)


SMALL = {"epoch_examples": 64, "validation_examples": 16}
TABLE = {"path": "{folder}/table.csv"}
EXPRESSIONS = {"path": "{folder}/one.tsv", "validation_path": "{folder}/two.tsv"}
SHORT = {"dynamic_ntk": {"original_length": 8}, "longrope": {"original_length": 8}}
"""What only does something to texts longer than those it was trained on."""
BESIDE: dict[tuple[str, str, str], dict[str, Any]] = {
    ("mixer", "attention", "soft_cap"): {"backend": "manual"},
    ("mixer", "attention", "sinks"): {"backend": "manual"},
    ("mixer", "disentangled", "max_distance"): {"buckets": 8},  # with 256 no distance here is so far that it is rounded
    ("mixer", "latent", "theta"): {"rope": 4},  # of one pair the speed is 1, whatever theta
    ("rope_scaling", "dynamic_ntk", "factor"): {"original_length": 16},
    ("rope_scaling", "longrope", "long"): {"original_length": 16},
    ("task", "listops", "path"): EXPRESSIONS,
    ("task", "listops", "validation_path"): EXPRESSIONS,
    ("task", "classification", "validation_path"): TABLE,
    ("task", "classification", "text_column"): TABLE,
    ("task", "classification", "class_column"): TABLE,
    ("task", "sequence_to_sequence", "validation_path"): TABLE,
    ("task", "sequence_to_sequence", "source_column"): TABLE,
    ("task", "sequence_to_sequence", "target_column"): TABLE,
    ("task", "sequence_to_sequence", "pattern"): TABLE,
}
"""Other hyper-parameters of the component without which one has nothing to do."""
for optimizer in REGISTRY["optimizer"]:
    BESIDE["optimizer", optimizer, "decay_on"] = {"weight_decay": 0.3}
    BESIDE["optimizer", optimizer, "decay_embeddings"] = {"weight_decay": 0.3}
for task in ("classification", "sequence_to_sequence", "text", "masked_text"):
    BESIDE["task", task, "max_vocabulary"] = {"level": "word"}
    BESIDE["task", task, "level"] = {"max_vocabulary": 300}
for task in ("text", "masked_text", "classification", "sequence_to_sequence"):
    BESIDE["task", task, "tokenizer"] = {"level": "bpe", "max_vocabulary": 300}
for field in ("begin", "end"):
    BESIDE["task", "sequence_to_sequence", field] = {
        "level": "bpe",
        "max_vocabulary": 300,
        "tokenizer": "{folder}/tokenizer.json",
    }
AROUND: dict[str, dict[str, Any]] = {
    "block": {"model.dropout": 0.5},
    "optimizer": {"model.position": "t5"},  # a matrix that is no weight
    "rope_scaling": {"model.n_heads": 1, "model.max_length": 2048},  # pairs that turn often and others that hardly do
}
"""By slot, what of the model its hyper-parameters need."""
VALUES: dict[tuple[str, str, str], list[Any]] = {
    ("mixer", "latent", "rope"): [4],  # 2 is what null comes to here
    ("block", "deepnorm", "beta"): [0.25],  # 0.5 is what null comes to here
    ("rope_scaling", "longrope", "short"): [[1.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]],
    ("rope_scaling", "longrope", "long"): [[1.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]],
    ("optimizer", "soap", "every"): [1],  # a few steps are made
    ("optimizer", "soap", "largest_side"): [8],
    ("norm", "scale_norm", "eps"): [10.0],  # the smallest norm there is, not an addend
    ("task", "listops", "path"): ["{folder}/three.tsv"],
    ("task", "listops", "validation_path"): ["{folder}/three.tsv"],
    ("task", "classification", "path"): ["{folder}/table.csv"],
    ("task", "classification", "validation_path"): ["{folder}/more.csv"],
    ("task", "classification", "text_column"): ["other"],
    ("task", "classification", "class_column"): ["kind"],
    ("task", "sequence_to_sequence", "path"): ["{folder}/table.csv"],
    ("task", "sequence_to_sequence", "validation_path"): ["{folder}/more.csv"],
    ("task", "sequence_to_sequence", "source_column"): [3],
    ("task", "sequence_to_sequence", "target_column"): [4],
    ("task", "sequence_to_sequence", "pattern"): ["(?P<target>[^,]*),(?P<source>.*)"],
    ("launcher", "ray", "address"): ["local"],
    ("launcher", "slurm", "memory"): ["4G"],
    ("launcher", "slurm", "setup"): [["module load cuda"]],
    ("launcher", "slurm", "options"): [{"partition": "gpu"}],
}
"""What cannot be found from type and bounds: what names something in files, or is more or less than others."""
for task in ("classification", "sequence_to_sequence", "text", "masked_text"):
    VALUES["task", task, "max_vocabulary"] = [300]
for task in ("text", "masked_text"):
    VALUES["task", task, "training_tokens"] = [4096]
for task in ("text", "masked_text", "classification", "sequence_to_sequence"):
    VALUES["task", task, "tokenizer"] = ["{folder}/tokenizer.json"]
for optimizer in REGISTRY["optimizer"]:
    VALUES["optimizer", optimizer, "lr_multipliers"] = [{"embedding": 0.5}, {"stack.*": 2.0}]
for field in ("validation_sets", "test_sets"):
    for task in ("classification", "sequence_to_sequence"):
        VALUES["task", task, field] = [{"more": "{folder}/more.csv"}]
        BESIDE["task", task, field] = TABLE
    VALUES["task", "text", field] = [{"more": "{folder}/more.csv"}]
    BESIDE["task", "text", field] = {"level": "byte", "length": 8}
VALUES["task", "text", "minimal_pairs"] = [{"pairs": "{folder}/pairs.csv"}]
VALUES["task", "text", "good_column"] = VALUES["task", "text", "bad_column"] = ["other"]
VALUES["task", "text", "phenomenon_column"] = ["kind"]
VALUES["task", "text", "pair_prefix"] = ["So "]
BESIDE["task", "text", "minimal_pairs"] = {"level": "byte", "length": 32}
for field in ("good_column", "bad_column", "phenomenon_column", "pair_prefix"):
    BESIDE["task", "text", field] = {"level": "byte", "length": 32, "minimal_pairs": {"pairs": "{folder}/pairs.csv"}}
for task, column in (("classification", "kind"), ("sequence_to_sequence", 4)):
    VALUES["task", task, "score_by"] = [column]
    BESIDE["task", task, "score_by"] = TABLE
for field in ("begin", "end"):
    VALUES["task", "sequence_to_sequence", field] = ["[MASK]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files lie that ``{folder}`` stands for."""
    folder = tmp_path_factory.mktemp("files")
    for name, rows in (("table", range(40)), ("more", range(40, 50))):
        lines = [f"text {row},{'ab'[row % 2]},other {row} of {row % 3},{'cd'[row // 2 % 2]}" for row in rows]
        (folder / f"{name}.csv").write_text("\n".join(["text,class,other,kind", *lines]))
    pairs = ["one good,one bad,one other,a", "two good,two bad,two other,b"]
    (folder / "pairs.csv").write_text("\n".join(["sentence_good,sentence_bad,other,kind", *pairs]))
    for number, name in enumerate(("one", "two", "three")):
        lines = [f"{max(number, digit)}\t( [MAX {number} {digit} {number} ] )" for digit in range(3 * number, 10)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    pairs = learn_byte_pairs(["def a(b): return c"], 258)
    pairs.add_special_tokens(["[MASK]", "<pad>", "</s>"])
    pairs.save(str(folder / "tokenizer.json"))
    return folder


def changes(slot: str, name: str, field: str, hyper: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration's changes that give a component these hyper-parameters, with what ``field`` needs."""
    beside = BESIDE.get((slot, name, field), {})
    if "epoch_examples" in REGISTRY[slot][name].hyperparameters():
        beside = SMALL | beside
    filled = {key: filled_in(value, folder) for key, value in (beside | hyper).items()}
    around = AROUND.get("rope_scaling" if field == "scaling" else slot, {})
    if field == "scaling" and isinstance(part := filled.get(field), dict):
        filled[field] = SHORT.get(part["name"], {}) | part
    component = {"name": name, **filled}
    place = str(CONFIG_PATHS[slot])
    return {**settings_for(slot, name), **around, place: [component] if slot in LIST_SLOTS else component}


def filled_in(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: filled_in(part, folder) for key, part in value.items()}
    return value.replace("{folder}", str(folder)) if isinstance(value, str) else value


@every_hyperparameter
def test_every_hyperparameter_has_an_effect(
    slot: str, name: str, field: str, configure: Any, tmp_path: Path, folder: Path
) -> None:
    def effect(hyper: dict[str, Any]) -> dict[str, Any]:
        place = CONFIG_PATHS[slot]
        if place is None:
            return {"built": vars(REGISTRY[slot][name](name=name, **hyper).build())}
        return EFFECTS.get(place, on_the_model)(configure(changes(slot, name, field, hyper, folder)))

    part = slot_of_field(REGISTRY[slot][name].model_fields[field])
    default = effect({})
    assert differing(default, effect({})) == [], "not reproducible, so that nothing can be concluded"
    values = other_values(slot, name, field, tmp_path)
    assert values, "no other value was found"
    refused = []
    for value in values:
        try:
            changed = effect({field: value})
        except ValueError as refusal:
            assert part is not None and value["name"] in str(refusal).lower(), f"{value}: {refusal}"
            refused.append(value)  # a component that does not fit here: test_components.py
            continue
        assert differing(default, changed), f"{value} changes nothing"
    assert refused != values, "nothing else fits"


@every_hyperparameter
def test_every_value_survives_yaml(
    slot: str, name: str, field: str, configure: Any, tmp_path: Path, folder: Path
) -> None:
    if CONFIG_PATHS[slot] is None:
        return
    for value in other_values(slot, name, field, tmp_path):
        config = configure(changes(slot, name, field, {field: value}, folder))
        assert config != configure(changes(slot, name, field, {}, folder))
        assert load(parse(yaml.safe_dump(dump(config)), "dumped.yaml").value) == config


def other_values(slot: str, name: str, field: str, folder: Path) -> list[Any]:
    """Plain values that the hyper-parameter takes and that are not its default."""
    if (slot, name, field) in VALUES:
        return VALUES[slot, name, field]
    kind = REGISTRY[slot][name]
    info, default = kind.model_fields[field], kind(name=name).model_dump(mode="json")[field]
    part = slot_of_field(info)
    if part is not None:
        others = [other for other in REGISTRY[part] if other != default["name"]]
        return [
            {"name": other} for other in others if part != "attention_backend" or (part, other) not in TESTED_ELSEWHERE
        ]

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
    return of_the_model(config, None)


def on_the_architecture(config: Any) -> dict[str, Any]:
    """The same; with a pooling, of a model that classifies."""
    return of_the_model(config, 3 if "pooling" in config.model.architecture.hyperparameters() else None)


def of_the_model(config: Any, n_classes: int | None) -> dict[str, Any]:
    model = build_model(config.model, 11, 40, 0, n_classes).double()
    tokens = torch.randint(11, (2, 40), generator=torch.Generator().manual_seed(0))
    targets = tokens.roll(-1, 1).flatten() if n_classes is None else tokens[:, 0] % n_classes
    inputs = {"tokens": tokens}
    if "seq2seq" in config.model.architecture.component.tasks:
        inputs["source"] = tokens.flip(1)
    effect: dict[str, Any] = {"parts": [type(module).__qualname__ for module in model.modules()]}
    effect |= {f"weight {path}": parameter.detach().clone() for path, parameter in model.named_parameters()}
    torch.manual_seed(0)
    losses: list[torch.Tensor] = []
    outputs = model(**inputs, losses=losses)
    (cross_entropy(outputs.flatten(0, -2), targets) + sum(losses)).backward()
    effect |= {f"gradient {path}": parameter.grad for path, parameter in model.named_parameters()}
    effect |= {f"loss {number}": loss.detach() for number, loss in enumerate(losses)}
    return effect | {"training": outputs.detach(), "trained": model.eval()(**inputs).detach()}


def on_the_data(config: Any) -> dict[str, Any]:
    """What is trained on, what is scored and how, and how much the loader hands out at once."""
    task: Task = config.task.build()
    effect: dict[str, Any] = {"metrics": list(task.metrics()), "batch": task.batch_size}
    effect |= {"vocabulary": task.vocabulary, "classes": task.n_classes}
    sets = {"training": task.training(0, 0), "validation": task.validation()}
    sets |= task.further_validation() | task.final_sets()
    for name, pairs in task.sentence_pairs().items():
        effect[f"{name} phenomena"] = pairs.phenomena
        sets |= {f"{name} good": pairs.good, f"{name} bad": pairs.bad}
    return effect | {f"{name} {key}": tensor for name, examples in sets.items() for key, tensor in examples.items()}


def on_the_steps(config: Any) -> dict[str, Any]:
    """Where a few steps lead."""
    model = build_model(config.model, 11, 12, 0).double()
    optimizer = config.optimizer.build().for_model(model)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator).double()
        optimizer.step()
    return {path: parameter.detach() for path, parameter in model.named_parameters()}


def on_the_metrics(config: Any) -> dict[str, Any]:
    """What extra metrics say of random logits."""
    task: Task = config.task.build()
    generator = torch.Generator().manual_seed(0)
    logits = 10 * torch.randn((8, 12, task.vocabulary), generator=generator)
    targets = torch.randint(task.vocabulary, (8, 12), generator=generator)
    found = {}
    for name, metric in all_metrics(task, config.metrics).items():
        metric.update(logits, targets)
        found[name] = float(metric.compute())
    return found


def on_the_learning_rate(config: Any) -> dict[str, Any]:
    schedule = config.schedule.build()
    return {"factors": [schedule.factor(step, 40) for step in range(40)]}


EFFECTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "task": on_the_data,
    "model.architecture": on_the_architecture,
    "optimizer": on_the_steps,
    "schedule": on_the_learning_rate,
    "metrics": on_the_metrics,
}
