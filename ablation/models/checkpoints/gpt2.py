"""GPT-2."""

from typing import Any, ClassVar

from ...registry import register
from .contract import Checkpoint, Weights, linear, split_thirds


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
            "initialisation": "gpt2",
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
