"""A constructor is the whole declaration: what becomes of its signature, and what is refused."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field, ValidationError

import ablation
from ablation.components.base import BuildContext
from ablation.components.position.base import Position
from ablation.config.experiment import rebuild
from ablation.config.layered import dump, load
from ablation.plugins import load_plugins
from ablation.registry import REGISTRY, expand_shorthand, register, slot_of_field

KERPLE = '''
"""Kerple, in a file of its own."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ablation import Position, BuildContext, distance, register


@register("position", "kerple", source="Chi et al. 2022, arXiv:2205.09921")
class Kerple(Position):
    """A trained logarithmic penalty on the distance, per head."""

    def __init__(self, shape: BuildContext, *, init_value: Annotated[float, Field(gt=0)] = 1.0):
        super().__init__(shape)
        self.height = nn.Parameter(torch.full((shape.n_heads, 1, 1), init_value))

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return -self.height * torch.log1p(distance(q_positions, k_positions).abs())
'''

OUTER = '''
from typing import Annotated

from ablation import ComponentConfig, Slot, component, register


@register("norm", "outer")
class Outer:
    """A component within a component."""

    def __init__(self, *, inner: Annotated[ComponentConfig, Slot("position")] = component("position", "rope")):
        self.inner = inner
'''


def test_keyword_only_parameters_become_the_configuration(scratch_registry: Any) -> None:
    @register("position", "made_up", source="Nobody 1900")
    class MadeUp(Position):
        """One line that says what it is.

        More is said below it.
        """

        def __init__(
            self, shape: BuildContext, *, width: Annotated[int, Field(ge=1)] = 3, kind: Literal["a", "b"] = "a"
        ):
            super().__init__(shape)
            self.width, self.kind = width, kind

    config = REGISTRY["position"]["made_up"]
    assert config.hyperparameters() == ["width", "kind"]
    assert config.summary() == "One line that says what it is."
    assert (config.component, config.slot, config.source) == (MadeUp, "position", "Nobody 1900")
    shape = BuildContext(d_model=4, n_layers=1, n_heads=1, n_kv_heads=1, max_length=4)
    built = config(name="made_up", width=5).build(shape)
    assert isinstance(built, MadeUp) and (built.width, built.kind) == (5, "a")
    for wrong in ({"width": 0}, {"width": 1.5}, {"kind": "c"}, {"with": 3}, {"name": "other"}):
        with pytest.raises(ValidationError):
            config.model_validate_json(json.dumps({"name": "made_up", **wrong}))


def test_inherited_keyword_only_parameters_follow_kwargs(scratch_registry: Any) -> None:
    class Scaled:
        def __init__(self, *, size: Annotated[int, Field(ge=1)] = 3, scale: float = 1.0):
            self.size, self.scale = size, scale

    @register("norm", "shifted")
    class Shifted(Scaled):
        def __init__(self, *, shift: float = 0.0, scale: float = 2.0, **kwargs: Any):
            super().__init__(scale=scale, **kwargs)
            self.shift = shift

    @register("norm", "fixed")
    class Fixed(Scaled):
        def __init__(self, *, shift: float = 0.0):
            super().__init__()

    config = REGISTRY["norm"]["shifted"]
    assert sorted(config.hyperparameters()) == ["scale", "shift", "size"]
    built = config(name="shifted", size=5).build()
    assert (built.size, built.scale, built.shift) == (5, 2.0, 0.0)
    with pytest.raises(ValidationError, match="size"):
        config(name="shifted", size=0)
    assert REGISTRY["norm"]["fixed"].hyperparameters() == ["shift"], "without **kwargs nothing is inherited"


def test_hyperparameter_without_a_default_must_be_given(scratch_registry: Any) -> None:
    @register("norm", "needy")
    class Needy:
        def __init__(self, *, size: int):
            self.size = size

    with pytest.raises(ValidationError, match="size"):
        REGISTRY["norm"]["needy"](name="needy")
    assert REGISTRY["norm"]["needy"](name="needy", size=2).build().size == 2


def test_configuration_is_frozen() -> None:
    config = REGISTRY["position"]["rope"](name="rope")
    with pytest.raises(ValidationError, match="frozen"):
        config.theta = 5.0


def test_name_that_is_taken_is_refused_and_its_owner_named(scratch_registry: Any) -> None:
    with pytest.raises(ValueError, match=r"position 'rope' is taken by ablation\.components\.position\.rotary\.Rope"):

        @register("position", "rope")
        class Other(Position):
            pass

    assert REGISTRY["position"]["rope"].component.__name__ == "Rope"


def test_hyperparameter_without_a_type_is_refused(scratch_registry: Any) -> None:
    with pytest.raises(TypeError, match="Untyped: hyper-parameter 'size' needs a type"):

        @register("norm", "untyped")
        class Untyped:
            def __init__(self, *, size=3):  # type: ignore[no-untyped-def]
                pass

    assert "untyped" not in REGISTRY["norm"]


@pytest.mark.parametrize("word", ["name", "label", "build", "component", "slot", "source", "model_fields", "copy"])
def test_names_that_mean_something_else_are_refused(word: str, scratch_registry: Any) -> None:
    made: dict[str, Any] = {}
    exec(f"class Greedy:\n    def __init__(self, *, {word}: int = 3): pass", made)
    with pytest.raises(TypeError, match=f"Greedy.*: '{word}' is reserved"):
        register("norm", "greedy")(made["Greedy"])


@pytest.mark.parametrize("first_line", ["", "from __future__ import annotations"])
def test_component_may_take_another_by_its_bare_name(first_line: str, scratch_registry: Any, tmp_path: Path) -> None:
    file = tmp_path / "outer.py"
    file.write_text(first_line + OUTER)
    load_plugins([file])
    config = REGISTRY["norm"]["outer"]
    assert slot_of_field(config.model_fields["inner"]) == "position"
    assert config(name="outer").inner == REGISTRY["position"]["rope"](name="rope")
    written = expand_shorthand(config, {"name": "outer", "inner": "alibi"})
    assert written == {"name": "outer", "inner": {"name": "alibi"}}
    assert config.model_validate_json(json.dumps(written)).inner.name == "alibi"


def test_bare_names_and_mappings_mean_the_same(configure: Any) -> None:
    assert configure({"model.position": "rope"}) == configure({"model.position": {"name": "rope", "theta": 10_000.0}})
    assert configure({"model.position": "rope"}) == configure({"model.position": {"name": "rope", "theta": 10_000}})
    deep = {"name": "attention", "backend": "manual"}
    assert configure({"model.mixer": deep}).model.mixer.backend.name == "manual"
    assert configure({"model.position": {"name": "rope", "theta": 5e5}}).model.position.theta == 5e5


def test_expanding_changes_bare_names_only_and_nothing_in_place(configure: Any) -> None:
    kind = type(configure())
    plain = dump(configure())
    assert expand_shorthand(kind, plain) == plain
    brief = {**plain, "model": {**plain["model"], "position": "rope"}, "unknown": "rope"}
    spelled = expand_shorthand(kind, brief)
    assert spelled["model"]["position"] == {"name": "rope"} and spelled["unknown"] == "rope"
    assert brief["model"]["position"] == "rope"
    assert expand_shorthand(kind, 3) == 3
    nonsense = {"model": ["a"], "task": 5, "optimizer": {"name": 7}, "schedule": {"name": "nowhere", "x": 1}}
    assert expand_shorthand(kind, nonsense) == nonsense


def test_schema_offers_the_bare_name_and_the_mapping(configure: Any) -> None:
    schema = type(configure()).model_json_schema()
    names, mapping = schema["$defs"]["ModelConfig"]["properties"]["position"]["anyOf"]
    assert names["enum"] == sorted(REGISTRY["position"])
    assert set(mapping["discriminator"]["mapping"]) == set(REGISTRY["position"])


def test_component_in_a_file_of_its_own_is_one_like_any_other(
    scratch_registry: Any, tmp_path: Path, make_model: Any, configure: Any
) -> None:
    file = tmp_path / "kerple.py"
    file.write_text(KERPLE)
    load_plugins([file])
    config = configure({"model.position": {"name": "kerple", "init_value": 2.0}})
    assert load(yaml.safe_load(yaml.safe_dump(dump(config)))) == config
    model = make_model({"model.position": "kerple"})
    assert [path for path, _ in model.named_parameters() if "position" in path] == ["stack.position.height"]
    with pytest.raises(ablation.errors.InputError, match="init_value"):
        configure({"model.position": {"name": "kerple", "init_value": 0}})


def test_later_component_is_accepted_after_a_rebuild(scratch_registry: Any, configure: Any) -> None:
    @register("attention_backend", "late")
    class Late:
        """A backend for a component within a component."""

    rebuild()
    late = configure({"model.mixer": {"name": "attention", "backend": "late"}}).model.mixer.backend
    assert late.component is Late


def test_removed_component_is_unknown() -> None:
    assert "late" not in REGISTRY["attention_backend"] and "kerple" not in REGISTRY["position"]


def test_every_name_for_components_of_ones_own_can_be_imported() -> None:
    for name in ablation.__all__:
        assert getattr(ablation, name) is not None
    assert set(ablation.__all__) <= set(dir(ablation))
    with pytest.raises(AttributeError, match="no attribute 'Ropee'"):
        ablation.Ropee  # noqa: B018
