"""GPT-2, and GPT-Neo, the public replica of GPT-3."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, linear, split_thirds


@register("checkpoint", "gpt2", source="Radford et al. 2019, Language Models are Unsupervised Multitask Learners")
class GPT2(Checkpoint):
    """GPT-2: pre_norm, learned positions, GELU by tanh, biases in all linear maps; weights are stored (in, out)."""

    defaults: ClassVar[dict[str, Any]] = {
        "n_positions": 1024,
        "resid_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "layer_norm_epsilon": 1e-5,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    }

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        expansion = (hf_config.get("n_inner") or 4 * hf_config["n_embd"]) / hf_config["n_embd"]
        return {
            "architecture": "decoder",
            "d_model": hf_config["n_embd"],
            "n_layers": hf_config["n_layer"],
            "n_heads": hf_config["n_head"],
            "n_kv_heads": None,
            "dropout": hf_config["resid_pdrop"],
            "tie_embeddings": True,
            "max_length": hf_config["n_positions"],
            "position": "learned",
            "block": "pre_norm",
            "norm": {"name": "layer_norm", "eps": hf_config["layer_norm_epsilon"]},
            "mixer": {"name": "attention", "bias": True, "dropout": hf_config["attn_pdrop"]},
            "feedforward": {"name": "mlp", "activation": "gelu_tanh", "expansion": expansion, "bias": True},
            "residual": "plain",
            "initialization": "gpt2",
        }

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        weights = {
            "embedding.table.weight": tensors["wte.weight"],
            "stack.position.table.weight": tensors["wpe.weight"],
            **linear("stack.norm", "ln_f", tensors),
        }
        for layer in range(hf_config["n_layer"]):
            block, hf_block = f"stack.blocks.{layer}", f"h.{layer}"
            weights |= linear(f"{block}.norms.0", f"{hf_block}.ln_1", tensors)
            weights |= linear(f"{block}.norms.1", f"{hf_block}.ln_2", tensors)
            weights |= split_thirds(f"{block}.sublayers.0", tensors[f"{hf_block}.attn.c_attn.weight"].T, "weight")
            weights |= split_thirds(f"{block}.sublayers.0", tensors[f"{hf_block}.attn.c_attn.bias"], "bias")
            for part, name in (("0.out", "attn.c_proj"), ("1.up", "mlp.c_fc"), ("1.down", "mlp.c_proj")):
                weights[f"{block}.sublayers.{part}.weight"] = tensors[f"{hf_block}.{name}.weight"].T
                weights[f"{block}.sublayers.{part}.bias"] = tensors[f"{hf_block}.{name}.bias"]
        return weights


ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


@register(
    "checkpoint",
    "gpt_neo",
    source="Black et al. 2021, doi:10.5281/zenodo.5297715; after GPT-3: Brown et al. 2020, arXiv:2005.14165",
)
class GPTNeo(Checkpoint):
    """GPT-2 with the layers of GPT-3: some attend to all tokens before, the others to a window.

    Attention scores are not scaled; queries, keys and values have no bias.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "max_position_embeddings": 2048,
        "window_size": 256,
        "resid_dropout": 0.0,
        "attention_dropout": 0.0,
        "layer_norm_epsilon": 1e-5,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {
        "activation_function": ("gelu_new",),
        "tie_word_embeddings": (True,),
    }

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        width = hf_config["hidden_size"]
        if hf_config["activation_function"] != "gelu_new":
            raise ValueError(
                f"activation_function {hf_config['activation_function']} cannot be imported, only gelu_new"
            )
        return {
            "architecture": "decoder",
            "d_model": width,
            "n_layers": hf_config["num_layers"],
            "n_heads": hf_config["num_heads"],
            "n_kv_heads": None,
            "dropout": hf_config["resid_dropout"],
            "tie_embeddings": True,
            "max_length": hf_config["max_position_embeddings"],
            "position": "learned",
            "block": "pre_norm",
            "norm": {"name": "layer_norm", "eps": hf_config["layer_norm_epsilon"]},
            "mixer": {
                "name": "attention",
                "scale": False,
                "out_bias": True,
                "dropout": hf_config["attention_dropout"],
                "window": hf_config["window_size"] if "local" in layer_kinds(hf_config) else None,
            },
            "feedforward": {
                "name": "mlp",
                "activation": "gelu_tanh",
                "expansion": (hf_config.get("intermediate_size") or 4 * width) / width,
                "bias": True,
            },
            "residual": "plain",
            "layers": full_attention(layer_kinds(hf_config)),
            "initialization": "gpt2",
        }

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        weights = {
            "embedding.table.weight": tensors["wte.weight"],
            "stack.position.table.weight": tensors["wpe.weight"],
            **linear("stack.norm", "ln_f", tensors),
        }
        for layer in range(hf_config["num_layers"]):
            block, hf_block = f"stack.blocks.{layer}", f"h.{layer}"
            weights |= attention(f"{block}.sublayers.0", f"{hf_block}.attn.attention", ATTENTION, tensors, bias=False)
            weights[f"{block}.sublayers.0.out.bias"] = tensors[f"{hf_block}.attn.attention.out_proj.bias"]
            weights |= linear(f"{block}.norms.0", f"{hf_block}.ln_1", tensors)
            weights |= linear(f"{block}.norms.1", f"{hf_block}.ln_2", tensors)
            weights |= linear(f"{block}.sublayers.1.up", f"{hf_block}.mlp.c_fc", tensors)
            weights |= linear(f"{block}.sublayers.1.down", f"{hf_block}.mlp.c_proj", tensors)
        return weights


def layer_kinds(hf_config: dict[str, Any]) -> list[str]:
    """``global`` or ``local`` for each layer; ``config.json`` has them as [[[kinds], times], ...]."""
    kinds: list[str] = []
    for repeated, times in hf_config["attention_types"]:
        if not 0 < times * len(repeated) <= hf_config["num_layers"] - len(kinds):
            break
        kinds += repeated * times
    if len(kinds) != hf_config["num_layers"]:
        raise ValueError(f"attention_types are not of {hf_config['num_layers']} layers")
    return kinds


def full_attention(kinds: list[str]) -> list[dict[str, Any]]:
    """The overrides that remove the window from global layers: one if they are every n-th layer, else one for each."""
    layers = [layer for layer, kind in enumerate(kinds) if kind == "global"]
    if not layers or "local" not in kinds:
        return []
    every = layers[1] - layers[0] if len(layers) > 1 else len(kinds)
    if layers == list(range(layers[0], len(kinds), every)):
        return [{"every": every, "first": layers[0], "set": {"mixer.window": None}}]
    return [{"first": layer, "last": layer, "set": {"mixer.window": None}} for layer in layers]
