"""BLOOM and MPT, which know positions by ALiBi."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, linear, split_heads, split_thirds


@register("checkpoint", "bloom", source="BigScience 2022, arXiv:2211.05100")
class BLOOM(Checkpoint):
    """BLOOM: pre_norm, ALiBi, a norm on the embeddings, biases everywhere."""

    defaults: ClassVar[dict[str, Any]] = {
        "layer_norm_epsilon": 1e-5,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {
        "apply_residual_connection_post_layernorm": (False,),
        "tie_word_embeddings": (True,),
    }

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        eps = theirs["layer_norm_epsilon"]
        return {
            "architecture": "decoder",
            "d_model": theirs["hidden_size"] if "hidden_size" in theirs else theirs["n_embed"],
            "n_layers": theirs["n_layer"],
            "n_heads": n_heads(theirs),
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
            "initialization": "gpt2",
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
                found |= split_heads(f"{ours}.sublayers.0", fused, n_heads(theirs), kind)
            found |= linear(f"{ours}.sublayers.0.out", f"{old}.self_attention.dense", tensors)
            found |= linear(f"{ours}.sublayers.1.up", f"{old}.mlp.dense_h_to_4h", tensors)
            found |= linear(f"{ours}.sublayers.1.down", f"{old}.mlp.dense_4h_to_h", tensors)
            found |= linear(f"{ours}.norms.0", f"{old}.input_layernorm", tensors)
            found |= linear(f"{ours}.norms.1", f"{old}.post_attention_layernorm", tensors)
        return found


def n_heads(theirs: dict[str, Any]) -> int:
    """What the published files call num_attention_heads."""
    return int(theirs["n_head"] if "n_head" in theirs else theirs["num_attention_heads"])


@register("checkpoint", "mpt", source="MosaicML 2023, Introducing MPT-7B; ALiBi: arXiv:2108.12409")
class MPT(Checkpoint):
    """MPT: pre_norm, ALiBi, no biases at all."""

    defaults: ClassVar[dict[str, Any]] = {"expansion_ratio": 4, "resid_pdrop": 0.0, "layer_norm_epsilon": 1e-5}
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {
        "no_bias": (True,),
        "logit_scale": (None,),
        "tie_word_embeddings": (True,),
    }
    assumes_of_attention: ClassVar[dict[str, Any]] = {
        "attn_type": "multihead_attention",
        "alibi": True,
        "alibi_bias_max": 8,
        "clip_qkv": None,
        "softmax_scale": None,
        "qk_ln": False,
        "prefix_lm": False,
    }
    """The same of their ``attn_config``."""

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        attention = theirs.get("attn_config") or {}
        for key, wanted in self.assumes_of_attention.items():
            if attention.get(key, wanted) != wanted:
                raise ValueError(f"attn_config.{key} {attention[key]} is not imported; {wanted} is")
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
            "mixer": {"name": "attention", "dropout": attention.get("attn_pdrop", 0.0)},
            "feedforward": {"name": "mlp", "activation": "gelu", "expansion": theirs["expansion_ratio"]},
            "residual": "plain",
            "initialization": "gpt2",
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
