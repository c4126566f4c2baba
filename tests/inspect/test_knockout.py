"""A model without a part computes what a model that never had the part computes with the same weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ablation.components.mixer.attention import Attention
from ablation.inspect.evaluation import Scorer, Validation
from ablation.inspect.knockout import Knockouts, gradient_importance, mean_outputs
from ablation.inspect.parts import Means, Part, parts_of, without
from ablation.inspect.sites import Head, heads_of, hooked, sublayers
from ablation.tasks.generated.memory import Induction

MODELS = Callable[..., nn.Module]
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
SETTINGS = {"model.n_layers": 2, "model.n_heads": 4}


def validation() -> Validation:
    return Validation.of(Induction(symbols=10, length=12, batch_size=4), 8)


def knocked_out(model: nn.Module, part: Part, tokens: Any = TOKENS, ablation: Any = "zero") -> Any:
    means = mean_outputs(model, sublayers_of(part, model), validation()) if ablation == "mean" else Means()
    with torch.no_grad(), without(model, part, ablation, means):
        return model(tokens)


def sublayers_of(part: Part, model: nn.Module) -> Any:
    return [head.sublayer for head in part.heads] or list(part.sublayers) or sublayers(model)


def drop_head(mixer: Attention, head: int) -> Attention:
    """The same attention, built with one head less."""
    from dataclasses import replace

    from support.attention import SHAPE
    from support.attention import build as component

    width = mixer.query.out_features // mixer.n_heads
    shape = replace(
        SHAPE, d_model=mixer.query.in_features, n_heads=mixer.n_heads - 1, n_kv_heads=mixer.n_heads - 1, d_head=width
    )
    smaller: Attention = component("mixer", "attention", shape).double().eval()
    kept = torch.cat([torch.arange(i * width, (i + 1) * width) for i in range(mixer.n_heads) if i != head])
    with torch.no_grad():
        for name in ("query", "key", "value"):
            getattr(smaller, name).weight.copy_(getattr(mixer, name).weight[kept])
        smaller.out.weight.copy_(mixer.out.weight[:, kept])
    return smaller


@pytest.mark.parametrize("head", range(4))
def test_zeroed_head_equals_the_model_rebuilt_without_it(make_model: MODELS, head: int) -> None:
    model, rebuilt = make_model(SETTINGS), make_model(SETTINGS)
    part = next(each for each in sublayers(model) if each.kind == "mixer" and each.layer == 1)
    found = knocked_out(model, Part("heads", "", heads=(Head(part, head),)))
    block = rebuilt.stack.blocks[1]  # type: ignore[union-attr, index]
    block.sublayers[0] = drop_head(block.sublayers[0], head)  # type: ignore[union-attr, index, operator, arg-type]
    with torch.no_grad():
        torch.testing.assert_close(found, rebuilt(TOKENS))


@pytest.mark.parametrize("slot", ["mixer", "feedforward"])
def test_zeroed_sublayer_equals_the_model_built_without_it(make_model: MODELS, slot: str) -> None:
    model = make_model(SETTINGS)
    left_out = make_model({**SETTINGS, "model.layers": [{"first": 1, "set": {slot: "none"}}]})
    left_out.load_state_dict(model.state_dict(), strict=False)
    index = 0 if slot == "mixer" else 1  # the norm that is left stays with its sublayer
    left_out.stack.blocks[1].norms[0].load_state_dict(  # type: ignore[union-attr, index]
        model.stack.blocks[1].norms[1 - index].state_dict()  # type: ignore[union-attr, index]
    )
    part = next(each for each in sublayers(model) if each.layer == 1 and each.kind == slot)
    found = knocked_out(model, Part("sublayers", part.name, sublayers=(part,)))
    with torch.no_grad():
        torch.testing.assert_close(found, left_out(TOKENS))


@pytest.mark.parametrize("block", ["pre_norm", "sandwich", "branch_norm", "layer_norm_scaling", "parallel"])
def test_zeroed_layer_hands_on_the_stream_as_it_is(make_model: MODELS, block: str) -> None:
    model = make_model({**SETTINGS, "model.block": block})
    (part,) = [each for each in parts_of(model, sublayers(model), ["layers"]) if each.name == "layer 1"]
    streams: dict[str, Any] = {}
    with hooked(sublayers(model), ["stream"], lambda each, name, x, context: streams.update({each.place: x})):
        knocked_out(model, part)
    assert torch.equal(streams["layer 1"], streams["layer 0"])


@pytest.mark.parametrize("position", ["rope", "alibi", "sinusoidal", "learned"])
def test_model_without_its_positions_is_a_bag_of_words_but_for_the_mask(make_model: MODELS, position: str) -> None:
    model = make_model({**SETTINGS, "model.position": position})
    plain = make_model({**SETTINGS, "model.position": "none"})
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "position" not in k}, strict=True)
    (part,) = parts_of(model, sublayers(model), ["positions"])
    with torch.no_grad():
        torch.testing.assert_close(knocked_out(model, part), plain(TOKENS))
        assert not torch.allclose(model(TOKENS), plain(TOKENS))


def test_model_without_positions_has_none_to_lose(make_model: MODELS) -> None:
    model = make_model({**SETTINGS, "model.position": "none"})
    assert parts_of(model, sublayers(model), ["positions"]) == []


def test_zeroed_feature_equals_an_embedding_without_it(make_model: MODELS) -> None:
    model, zeroed = make_model({**SETTINGS, "model.tie_embeddings": False}), None
    found = knocked_out(model, Part("features", "", feature=3))
    zeroed = make_model({**SETTINGS, "model.tie_embeddings": False})
    with torch.no_grad():
        zeroed.embedding.table.weight[:, 3] = 0  # type: ignore[union-attr, index, operator]
        torch.testing.assert_close(found, zeroed(TOKENS))


def test_part_with_a_constant_output_is_missed_by_zero_but_not_by_mean(make_model: MODELS) -> None:
    model = make_model({**SETTINGS, "model.feedforward.bias": True})
    part = next(each for each in sublayers(model) if each.kind == "feedforward")
    last = [module for module in part.module.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        before = model(TOKENS)
    out = Part("sublayers", part.name, sublayers=(part,))
    torch.testing.assert_close(knocked_out(model, out, ablation="mean"), before)
    assert not torch.allclose(knocked_out(model, out, ablation="zero"), before)


def test_resampled_head_of_equal_examples_is_not_missed(make_model: MODELS) -> None:
    model, knockouts = make_model(SETTINGS), None
    task = Induction(symbols=10, length=12, batch_size=4)
    same = {name: tensor[:1].expand(4, -1) for name, tensor in task.validation().items()}
    parts = sublayers(model)
    heads = parts_of(model, parts, ["heads"])
    knockouts = Knockouts(model, parts, Validation(task, {"": same}), "resample")
    intact = Validation(task, {"": same}).score(model)["loss"]
    for measures in knockouts.scores(heads):
        assert measures["loss"] == pytest.approx(intact, abs=1e-6)
    different = Knockouts(model, parts, validation(), "resample").scores(heads)
    assert any(each["loss"] != pytest.approx(validation().score(model)["loss"], abs=1e-6) for each in different)


def test_last_example_is_resampled_where_the_batches_do_not_divide_them(make_model: MODELS) -> None:
    task = Induction(symbols=10, length=12, batch_size=4)
    examples = {name: tensor[[0, 0, 0, 0, 1]] for name, tensor in task.validation().items()}
    model, validation = make_model(SETTINGS), Validation(task, {"": examples})
    parts = sublayers(model)
    knockouts = Knockouts(model, parts, validation, "resample")
    intact = validation.score(model)["loss"]
    (layer, _) = parts_of(model, parts, ["layers"])
    # Only the last example differs from the one before it, and so does the first from the last one.
    assert knockouts.scores([layer])[0]["loss"] != pytest.approx(intact, abs=1e-6)


@pytest.mark.parametrize("n_examples", range(1, 10))
@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_no_example_is_alone_in_its_batch(batch_size: int, n_examples: int) -> None:
    task = Induction(symbols=10, length=12, batch_size=batch_size)
    validation = Validation.of(task, n_examples)
    batches = [batch["tokens"] for batch in validation.batches()]
    assert torch.equal(torch.cat(batches), validation.sets[""]["tokens"])
    assert all(min(2, n_examples) <= len(batch) <= max(3, batch_size + 1) for batch in batches)


@pytest.mark.parametrize("architecture", ["encoder_decoder", "prefix_decoder"])
def test_mean_of_the_embedding_is_that_of_all_tokens_without_padding(
    scan_model: Callable[..., Any], architecture: str
) -> None:
    model, validation = scan_model(architecture, {"model.position": "none"})
    examples = validation.sets[""]
    tokens = torch.cat([examples["tokens"][examples["padding"]], examples["source"][examples["source_padding"]]])
    means = mean_outputs(model, sublayers(model), validation)
    assert means.counts[None] == len(tokens)
    torch.testing.assert_close(means.of(None), model.embedding.table.weight[tokens].mean(0).detach())


def test_means_are_computed_when_a_part_is_replaced_by_them(make_model: MODELS) -> None:
    model, n_passes = make_model(SETTINGS), 0

    def count(*_: Any) -> None:
        nonlocal n_passes
        n_passes += 1

    model.register_forward_pre_hook(count)
    parts = sublayers(model)
    knockouts = Knockouts(model, parts, validation())
    assert n_passes == 0
    knockouts.scores(parts_of(model, parts, ["layers"]))
    assert n_passes == 2 + 2 * 2, "two batches for the means, and two for each layer"


def test_every_set_is_scored_by_its_own_metrics_which_are_made_once() -> None:
    made: list[str] = []

    class Named(Induction):
        def metrics(self) -> Any:
            made.append("")
            return super().metrics()

        def metrics_of(self, name: str) -> Any:
            made.append(name)
            return super().metrics()

    Scorer(Named(symbols=10, length=12), ["", "@2x"])
    assert made == ["", "2x"]


def test_resampling_needs_a_second_example(make_model: MODELS) -> None:
    from ablation.errors import InputError

    model = make_model(SETTINGS)
    with pytest.raises(InputError, match="there is only one"):
        Knockouts(model, sublayers(model), Validation.of(Induction(length=12), 1), "resample")


def test_importance_is_the_derivative_of_the_loss_by_a_factor_of_the_head(make_model: MODELS) -> None:
    model, parts = make_model(SETTINGS), None
    parts = [part for part in sublayers(model) if part.kind == "mixer"]
    one = Validation.of(Induction(symbols=10, length=12, batch_size=4), 1)
    found = gradient_importance(model, parts, one)
    batch = next(one.batches())
    for head, value in zip(heads_of(parts), found, strict=True):
        losses = []
        for factor in (1 - 1e-5, 1 + 1e-5):

            def scale(part: Any, name: Any, y: Any, context: Any, at: int = head.index, by: float = factor) -> Any:
                y = y.clone()
                y[:, at] *= by
                return y

            with torch.no_grad(), hooked([head.sublayer], ["heads"], scale):
                losses.append(float(one.task.loss(model(batch["tokens"]), batch)))
        assert value == pytest.approx(abs(losses[1] - losses[0]) / 2e-5, rel=1e-4, abs=1e-9)


def test_pruning_takes_out_every_head_once_and_first_the_least_missed(make_model: MODELS) -> None:
    model = make_model(SETTINGS)
    parts = sublayers(model)
    knockouts = Knockouts(model, parts, validation(), "zero")
    curve = knockouts.prune()
    names = [head.name for head in heads_of(parts)]
    assert sorted(step["head"] for step in curve) == sorted(names) and curve[-1]["share"] == 1
    single = {each["part"]: each["measures"]["loss"] for each in knockouts.one_at_a_time(["heads"])}
    assert curve[0]["head"] == min(single, key=lambda name: single[name])
    every = Part("heads", "all", heads=tuple(heads_of(parts)))
    assert curve[-1]["measures"] == knockouts.scores([every])[0]
