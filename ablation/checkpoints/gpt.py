"""GPT-2."""

# DOC-TO-MERGE: 'GPT-Neo, the public replica of GPT-3.'

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, linear, split_thirds


@register("checkpoint", "gpt2", source="Radford et al. 2019, Language Models are Unsupervised Multitask Learners")
class GPT2(Checkpoint):
    """GPT-2: pre_norm, learned positions, GELU by tanh, biases everywhere. Its maps are stored (in, out)."""

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

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        expansion = (theirs.get("n_inner") or 4 * theirs["n_embd"]) / theirs["n_embd"]
        return {
            "architecture": "decoder",
            "d_model": theirs["n_embd"],
            "n_layers": theirs["n_layer"],
            "n_heads": theirs["n_head"],
            "n_kv_heads": None,
            "dropout": theirs["resid_pdrop"],
            "tie_embeddings": True,
            "max_length": theirs["n_positions"],
            "position": "learned",
            "block": "pre_norm",
            "norm": {"name": "layer_norm", "eps": theirs["layer_norm_epsilon"]},
            "mixer": {"name": "attention", "bias": True, "dropout": theirs["attn_pdrop"]},
            "feedforward": {"name": "mlp", "activation": "gelu_tanh", "expansion": expansion, "bias": True},
            "residual": "plain",
            "initialization": "gpt2",
        }

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        found = {
            "embedding.table.weight": tensors["wte.weight"],
            "stack.position.table.weight": tensors["wpe.weight"],
            **linear("stack.norm", "ln_f", tensors),
        }
        for layer in range(theirs["n_layer"]):
            ours, old = f"stack.blocks.{layer}", f"h.{layer}"
            found |= linear(f"{ours}.norms.0", f"{old}.ln_1", tensors)
            found |= linear(f"{ours}.norms.1", f"{old}.ln_2", tensors)
            found |= split_thirds(f"{ours}.sublayers.0", tensors[f"{old}.attn.c_attn.weight"].T, "weight")
            found |= split_thirds(f"{ours}.sublayers.0", tensors[f"{old}.attn.c_attn.bias"], "bias")
            for part, name in (("0.out", "attn.c_proj"), ("1.up", "mlp.c_fc"), ("1.down", "mlp.c_proj")):
                found[f"{ours}.sublayers.{part}.weight"] = tensors[f"{old}.{name}.weight"].T
                found[f"{ours}.sublayers.{part}.bias"] = tensors[f"{old}.{name}.bias"]
        return found


ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


@register(
    "checkpoint",
    "gpt_neo",
    source="Black et al. 2021, doi:10.5281/zenodo.5297715; after GPT-3: Brown et al. 2020, arXiv:2005.14165",
)
class GPTNeo(Checkpoint):
    """GPT-2's parts with GPT-3's layers, of which every n-th sees all and the others a window.

    Scores have no scale, and queries, keys and values no bias.
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

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        width = theirs["hidden_size"]
        if theirs["activation_function"] != "gelu_new":
            raise ValueError(f"activation_function {theirs['activation_function']} is not imported; gelu_new is")
        return {
            "architecture": "decoder",
            "d_model": width,
            "n_layers": theirs["num_layers"],
            "n_heads": theirs["num_heads"],
            "n_kv_heads": None,
            "dropout": theirs["resid_dropout"],
            "tie_embeddings": True,
            "max_length": theirs["max_position_embeddings"],
            "position": "learned",
            "block": "pre_norm",
            "norm": {"name": "layer_norm", "eps": theirs["layer_norm_epsilon"]},
            "mixer": {
                "name": "attention",
                "scale": False,
                "out_bias": True,
                "dropout": theirs["attention_dropout"],
                "window": theirs["window_size"] if "local" in layer_kinds(theirs) else None,
            },
            "feedforward": {
                "name": "mlp",
                "activation": "gelu_tanh",
                "expansion": (theirs.get("intermediate_size") or 4 * width) / width,
                "bias": True,
            },
            "residual": "plain",
            "layers": full_attention(layer_kinds(theirs)),
            "initialization": "gpt2",
        }

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        found = {
            "embedding.table.weight": tensors["wte.weight"],
            "stack.position.table.weight": tensors["wpe.weight"],
            **linear("stack.norm", "ln_f", tensors),
        }
        for layer in range(theirs["num_layers"]):
            ours, old = f"stack.blocks.{layer}", f"h.{layer}"
            found |= attention(f"{ours}.sublayers.0", f"{old}.attn.attention", ATTENTION, tensors, bias=False)
            found[f"{ours}.sublayers.0.out.bias"] = tensors[f"{old}.attn.attention.out_proj.bias"]
            found |= linear(f"{ours}.norms.0", f"{old}.ln_1", tensors)
            found |= linear(f"{ours}.norms.1", f"{old}.ln_2", tensors)
            found |= linear(f"{ours}.sublayers.1.up", f"{old}.mlp.c_fc", tensors)
            found |= linear(f"{ours}.sublayers.1.down", f"{old}.mlp.c_proj", tensors)
        return found


def layer_kinds(theirs: dict[str, Any]) -> list[str]:
    """``global`` or ``local`` of each layer, which a file may give in short: [[[kinds], times], ...]."""
    return [kind for kinds, times in theirs["attention_types"] for _ in range(times) for kind in kinds]


def full_attention(kinds: list[str]) -> list[dict[str, Any]]:
    """The overrides that free the global layers from the window: one where they are every n-th, else one for each."""
    layers = [layer for layer, kind in enumerate(kinds) if kind == "global"]
    if not layers or "local" not in kinds:
        return []
    every = layers[1] - layers[0] if len(layers) > 1 else len(kinds)
    if layers == list(range(layers[0], len(kinds), every)):
        return [{"every": every, "first": layers[0], "set": {"mixer.window": None}}]
    return [{"first": layer, "last": layer, "set": {"mixer.window": None}} for layer in layers]
