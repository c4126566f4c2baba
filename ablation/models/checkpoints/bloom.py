"""BLOOM and MPT, which know positions by ALiBi."""

from typing import Any

from ...registry import register
from .contract import Checkpoint, Weights, linear, split_heads, split_thirds


@register("checkpoint", "bloom", source="BigScience 2022, arXiv:2211.05100")
class BLOOM(Checkpoint):
    """BLOOM: pre_norm, ALiBi, a norm on the embeddings, biases everywhere."""

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        eps = theirs["layer_norm_epsilon"]
        return {
            "architecture": "decoder",
            "d_model": theirs["hidden_size"],
            "n_layers": theirs["n_layer"],
            "n_heads": theirs["n_head"],
            "n_kv_heads": None,
            "dropout": theirs["hidden_dropout"],
            "tie_embeddings": True,
            "max_length": None,
            "embedding": {"name": "normed", "eps": eps},
            "position": "alibi",
            "block": "pre_norm",
            "norm": {"name": "layer_norm", "eps": eps},
            "mixer": {"name": "attention", "bias": True, "dropout": theirs["attention_dropout"]},
            "feedforward": {"name": "mlp", "activation": "gelu_tanh", "expansion": 4, "bias": True},
            "residual": "plain",
            "initialisation": "gpt2",
        }

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        found = {
            "embedding.table.weight": tensors["word_embeddings.weight"],
            **linear("embedding.norm", "word_embeddings_layernorm", tensors),
            **linear("stack.norm", "ln_f", tensors),
        }
        for layer in range(theirs["n_layer"]):
            ours, old = f"stack.blocks.{layer}", f"h.{layer}"
            for kind in ("weight", "bias"):
                fused = tensors[f"{old}.self_attention.query_key_value.{kind}"]
                found |= split_heads(f"{ours}.sublayers.0", fused, theirs["n_head"], kind)
            found |= linear(f"{ours}.sublayers.0.out", f"{old}.self_attention.dense", tensors)
            found |= linear(f"{ours}.sublayers.1.up", f"{old}.mlp.dense_h_to_4h", tensors)
            found |= linear(f"{ours}.sublayers.1.down", f"{old}.mlp.dense_4h_to_h", tensors)
            found |= linear(f"{ours}.norms.0", f"{old}.input_layernorm", tensors)
            found |= linear(f"{ours}.norms.1", f"{old}.post_attention_layernorm", tensors)
        return found


@register("checkpoint", "mpt", source="MosaicML 2023, Introducing MPT-7B; ALiBi: arXiv:2108.12409")
class MPT(Checkpoint):
    """MPT: pre_norm, ALiBi, no biases at all."""

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        return {
            "architecture": "decoder",
            "d_model": theirs["d_model"],
            "n_layers": theirs["n_layers"],
            "n_heads": theirs["n_heads"],
            "n_kv_heads": None,
            "dropout": theirs["resid_pdrop"],
            "tie_embeddings": True,
            "max_length": None,
            "position": "alibi",
            "block": "pre_norm",
            "norm": {"name": "layer_norm", "eps": theirs["layer_norm_epsilon"], "bias": False},
            "mixer": {"name": "attention"},
            "feedforward": {"name": "mlp", "activation": "gelu", "expansion": theirs["expansion_ratio"]},
            "residual": "plain",
            "initialisation": "gpt2",
        }

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        found = {"embedding.table.weight": tensors["wte.weight"], "stack.norm.weight": tensors["norm_f.weight"]}
        for layer in range(theirs["n_layers"]):
            ours, old = f"stack.blocks.{layer}", f"blocks.{layer}"
            found |= split_thirds(f"{ours}.sublayers.0", tensors[f"{old}.attn.Wqkv.weight"], "weight")
            names = {"sublayers.0.out": "attn.out_proj", "norms.0": "norm_1", "norms.1": "norm_2"}
            names |= {"sublayers.1.up": "ffn.up_proj", "sublayers.1.down": "ffn.down_proj"}
            for part, name in names.items():
                found |= linear(f"{ours}.{part}", f"{old}.{name}", tensors, bias=False)
        return found
