"""A configuration put together from files: what is laid over what, where each value came from, and what is strict."""

import json
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field, ValidationError
from support import CONF
from support.plans import BASE_YAML

from ablation.components.position.base import Position
from ablation.config.experiment import ExperimentConfig, rebuild
from ablation.config.layered import LayeredConfig, dump, load, read_assignment, read_base
from ablation.errors import InputError
from ablation.registry import REGISTRY, Slot, component, register
from ablation.study.study import Study
from ablation.yaml import parse

GRID = parse("set: {}\nfactors:\n  here: [0]\n", "grid.yaml")
HERE = ("factors", "here", 0)


@pytest.fixture
def draft() -> LayeredConfig:
    return LayeredConfig(parse(BASE_YAML, "base.yaml"))


def refusal(draft: LayeredConfig, *settings: tuple[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        laid(draft, *settings).build()
    return str(caught.value)


def laid(draft: LayeredConfig, *settings: tuple[str, Any]) -> LayeredConfig:
    for path, value in settings:
        draft.set(path, value, GRID, HERE)
    return draft


# --- the baseline ----------------------------------------------------------------------------------------------------


def test_baseline_of_the_repository_is_whole_and_valid():
    base = read_base(CONF / "base.yaml")
    config = base.build()
    assert config.seed == 0
    assert set(base.value) == set(ExperimentConfig.model_fields)
    assert set(base.value["model"]) == set(ExperimentConfig.model_fields["model"].annotation.model_fields)
    assert set(base.value["training"]) == set(type(config.training).model_fields)


def test_configuration_survives_yaml_and_json(draft):
    config = laid(draft, ("model.position", {"name": "rope", "theta": 3}), ("model.mixer.backend", "manual")).build()
    assert load(json.loads(json.dumps(dump(config)))) == config
    assert load(parse(yaml.safe_dump(dump(config)), "dumped.yaml").value) == config
    rope = {"name": "rope", "theta": 3.0, "rotary_fraction": 1.0, "layout": "half", "scaling": {"name": "none"}}
    assert dump(config)["model"]["position"] == rope
    assert dump(config)["optimizer"]["betas"] == [0.9, 0.95]


def test_not_a_configuration_is_refused(draft):
    with pytest.raises(ValidationError):
        load({**dump(draft.build()), "sed": 1})


def test_copy_knows_what_was_given_for_it_and_the_original_what_was_given_for_that():
    adamw = REGISTRY["optimizer"]["adamw"]
    one = adamw(name="adamw", lr=0.1)
    other = one.model_copy(update={"weight_decay": 0.5})
    assert (one.model_fields_set, other.model_fields_set) == ({"name", "lr"}, {"name", "lr", "weight_decay"})
    assert one.model_copy(update={"lr": 0.2}).model_fields_set is one.model_fields_set, "ten thousand copies have one"


def test_configuration_cannot_be_changed(draft):
    config = draft.build()
    with pytest.raises(ValidationError):
        config.seed = 1
    with pytest.raises(ValidationError):
        config.model.position.theta = 1.0


@pytest.mark.parametrize("written", ["rope", {"name": "rope"}, {"name": "rope", "theta": 10_000}])
def test_bare_name_is_short_for_a_mapping(draft, written):
    assert laid(draft, ("model.position", written)).build().model.position == draft.build().model.position


# --- laying values over each other -----------------------------------------------------------------------------------


def test_value_goes_over_what_was_there_and_leaves_the_rest(draft):
    before = draft.build()
    after = laid(draft, ("model.n_layers", 3), ("optimizer.lr", 1)).build()
    assert (after.model.n_layers, after.optimizer.lr) == (3, 1.0)
    assert after.model.model_copy(update={"n_layers": 1}) == before.model
    assert after.optimizer.betas == before.optimizer.betas


def test_component_is_replaced_as_a_whole(draft):
    laid(draft, ("model.feedforward.expansion", 2), ("model.feedforward", "glu"))
    assert dump(draft.build())["model"]["feedforward"]["expansion"] == pytest.approx(8 / 3)
    assert laid(draft, ("model.feedforward", {"name": "mlp"})).build().model.feedforward.expansion == 4


def test_path_leads_into_defaults_that_are_not_written_down(draft):
    config = laid(draft, ("model.mixer.backend.name", "manual"), ("model.mixer.dropout", 0.5)).build()
    assert (config.model.mixer.backend.name, config.model.mixer.dropout) == ("manual", 0.5)


def test_path_leads_into_a_section_that_is_left_out(draft):
    stopping = laid(draft, ("training.early_stopping.patience", 3)).build().training.early_stopping
    assert (stopping.patience, stopping.min_delta) == (3, 0.0)
    assert "training.early_stopping.patience: is missing" in refusal(draft.copy(), ("training.early_stopping", {}))
    assert "did you mean 'patience'?" in refusal(draft, ("training.early_stopping.patient", 1))


def test_copy_goes_its_own_way(draft):
    copy = laid(draft.copy("position=alibi"), ("model.position", "alibi"))
    assert (copy.build().model.position.name, draft.build().model.position.name) == ("alibi", "rope")
    assert (copy.cell, draft.cell) == ("position=alibi", "")
    assert "base.yaml:9:3: " in str(draft.error(("model", "position"), "x"))


def test_value_that_is_laid_stays_as_it_was(draft):
    level = {"name": "mlp", "expansion": 4}
    laid(draft, ("model.feedforward", level), ("model.feedforward.expansion", 2))
    assert level == {"name": "mlp", "expansion": 4}
    assert draft.base.value == parse(BASE_YAML, "base.yaml").value


def test_earlier_error_is_reported_before_an_unknown_path(draft):
    assert "'ropee' is not a position" in refusal(draft, ("model.position", "ropee"), ("model.position.theta", 1))


def test_path_through_what_base_lacks_is_error_of_base():
    base = LayeredConfig(parse(BASE_YAML.replace("optimizer: {", "# {"), "base.yaml"))
    assert refusal(base, ("optimizer.lr", 1)).startswith("base.yaml:1:1: optimizer: is missing")


# --- where a value came from -----------------------------------------------------------------------------------------


def test_error_is_located_at_the_last_of_two_values(draft):
    other = parse("set: {model.n_layers: 0}\n", "other.yaml")
    laid(draft, ("model.n_layers", -1)).set("model.n_layers", 0, other, ("set", "model.n_layers"))
    assert refusal(draft) == "other.yaml:1:7: model.n_layers: must be greater than 0, not 0"
    assert refusal(draft, ("model.n_layers", -1)) == "grid.yaml:3:10: model.n_layers: must be greater than 0, not -1"


def test_error_inside_a_value_is_located_at_its_key(draft):
    document = parse("set:\n  model.position:\n    name: rope\n    theta: 0\n", "other.yaml")
    draft.set("model.position", {"name": "rope", "theta": 0}, document, ("set", "model.position"))
    assert refusal(draft) == "other.yaml:4:5: model.position.theta: must be greater than 1, not 0"


def test_error_is_located_where_the_overriding_value_was_written(draft):
    other = parse("set: {model.position: {name: rope, theta: 3}}\n", "other.yaml")
    draft.set("model.position", {"name": "rope", "theta": 3}, other, ("set", "model.position"))
    expected = "grid.yaml:3:10: model.position.theta: must be greater than 1, not 0"
    assert refusal(draft, ("model.position.theta", 0)) == expected


def test_values_forget_their_source_when_the_whole_is_replaced(draft):
    other = parse("set: {model.position.theta: 3}\n", "other.yaml")
    draft.set("model.position.theta", 0, other, ("set", "model.position.theta"))
    laid(draft, ("model.position", {"name": "rope", "theta": 0.5}))
    assert refusal(draft).startswith("grid.yaml:3:10: ")


# --- settings from the command line ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a.b=3", "a.b", 3),
        (" a.b = 1e-3 ", "a.b", 1e-3),
        ("a=", "a", None),
        ("a=b=c", "a", "b=c"),
        ("a='3'", "a", "3"),
        ("a={name: rope, theta: [1, on]}", "a", {"name": "rope", "theta": [1, "on"]}),
    ],
)
def test_setting_is_a_path_and_yaml(text, path, value):
    assert read_assignment(text)[:2] == (path, value)


@pytest.mark.parametrize(
    "typed",
    [
        "a #1.txt",
        "#1.txt",
        "a#1.txt",
        "3 # three",
        "&a b",
        "*a",
        "!a b",
        "|",
        ">-",
        "a: b",
        "- 3",
        "? a",
        "%a",
        "@a",
        "`a",
    ],
)
def test_setting_that_is_no_yaml_structure_means_what_was_typed(typed):
    assert read_assignment(f"task.path={typed}")[1] == typed


@pytest.mark.parametrize("typed", ["'a #1'", '"a #1"', "{a: 'b #1'}", "['#1', 2]"])
def test_hash_inside_quotes_is_part_of_the_value(typed):
    assert "#1" in str(read_assignment(f"a={typed}")[1])


@pytest.mark.parametrize("typed", ["'a' #1", '"a" #1', "{a: b} #1", "[1, 2] #1", "{a: ü} #1"])
def test_comment_behind_a_structure_is_refused(typed):
    with pytest.raises(InputError, match="'#1' is a comment; quote the whole value") as raised:
        read_assignment(f"a={typed}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "value", ["a #1", "#", "ü😀\u2028", "\\ud83d\\ude00", "", "null", "3", None, True, 1e-5, [1, "#"], {"a": "# b"}]
)
def test_setting_from_python_is_the_value_itself(value):
    study = Study("grid.yaml", set={"task.path": value})
    assert read_assignment(study.settings[0])[1] == value


# --- what pydantic finds, in the configuration's own words -----------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "model.position.must: is missing"),
        (
            {"must": "x", "part": "manul"},
            "model.position.part: 'manul' is not an attention_backend; ~; did you mean 'manual'?",
        ),
        ({"must": "x", "either": []}, "model.position.either: ~, not a list"),
        ({"must": "x", "pairs": [["a", "b"]]}, "model.position.pairs[0][1]: must be a number, not 'b'"),
        ({"must": "x", "table": {"a": "b"}}, "model.position.table.a: must be a whole number, not 'b'"),
        ({"must": "x" * 9}, "model.position.must: must be at most 8 characters long, not 'xxxxxxxxx'"),
        ({"must": "x", "few": [1]}, "model.position.few: must have a length of at least 2, not 1"),
    ],
)
def test_errors_of_any_hyperparameter_name_its_path(draft, scratch_registry, given, expected):
    @register("position", "odd")
    class Odd(Position):
        def __init__(
            self,
            shape: Any,
            *,
            must: Annotated[str, Field(max_length=8)],
            either: int | str = 1,
            pairs: list[tuple[str, float]] = [],  # noqa: B006
            table: dict[str, int] = {},  # noqa: B006
            few: Annotated[list[int], Field(min_length=2)] = [1, 2],  # noqa: B006
            part: Annotated[Any, Slot("attention_backend")] = component("attention_backend", "sdpa"),
        ): ...

    rebuild()
    message = refusal(draft, ("model.position", {"name": "odd", **given}))
    start, _, end = expected.partition("~")
    assert message.startswith(f"grid.yaml:3:10: {start}")
    assert message.endswith(end)
    if not given:  # where only the name is written
        assert refusal(draft, ("model.position", "odd")) == message


def test_slot_with_one_member_gives_the_same_messages(draft, scratch_registry):
    for name in list(REGISTRY["architecture"])[1:]:
        del REGISTRY["architecture"][name]
    rebuild()
    for given in ("decodr", {"name": "decodr"}):
        message = refusal(draft, ("model.architecture", given))
        assert message.endswith("'decodr' is not an architecture; allowed: decoder; did you mean 'decoder'?"), message
    message = refusal(draft, ("model.architecture", {"name": "decoder", "x": 1}))
    assert "model.architecture.x: unknown key 'x' of the architecture 'decoder'; allowed: pooling" in message
    assert "model.architecture: a mapping needs a `name`" in refusal(draft, ("model.architecture", {}))


def test_components_registered_later_are_accepted(draft, scratch_registry):
    @register("position", "later")
    class Later(Position):
        """Something."""

    assert "'later' is not a position" in refusal(draft.copy(), ("model.position", "later"))
    rebuild()
    assert laid(draft, ("model.position", "later")).build().model.position.component is Later
