"""BLOOM and MPT, which encode positions by ALiBi."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, linear, split_heads, split_thirds


@register("checkpoint", "bloom", source="BigScience 2022, arXiv:2211.05100")
class BLOOM(Checkpoint):
    """BLOOM: pre_norm, ALiBi, normalized embeddings, biases in all linear maps."""

    defaults: ClassVar[dict[str, Any]] = {
        "layer_norm_epsilon": 1e-5,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {
        "apply_residual_connection_post_layernorm": (False,),
        "tie_word_embeddings": (True,),
    }

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        eps = hf_config["layer_norm_epsilon"]
        return {
            "architecture": "decoder",
            "d_model": hf_config["hidden_size"] if "hidden_size" in hf_config else hf_config["n_embed"],
            "n_layers": hf_config["n_layer"],
            "n_heads": n_heads(hf_config),
            "n_kv_heads": None,
            "dropout": hf_config["hidden_dropout"],
            "tie_embeddings": True,
            "max_length": None,
            "embedding": {"name": "normed", "eps": eps},
            "position": "alibi",
            "block": "pre_norm",
            "norm": {"name": "layer_norm", "eps": eps},
            "mixer": {"name": "attention", "bias": True, "dropout": hf_config["attention_dropout"]},
            "feedforward": {"name": "mlp", "activation": "gelu_tanh", "expansion": 4, "bias": True},
            "residual": "plain",
            "initialization": "gpt2",
        }

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        weights = {
            "embedding.table.weight": tensors["word_embeddings.weight"],
            **linear("embedding.norm", "word_embeddings_layernorm", tensors),
            **linear("stack.norm", "ln_f", tensors),
        }
        for layer in range(hf_config["n_layer"]):
            block, hf_block = f"stack.blocks.{layer}", f"h.{layer}"
            for kind in ("weight", "bias"):
                fused = tensors[f"{hf_block}.self_attention.query_key_value.{kind}"]
                weights |= split_heads(f"{block}.sublayers.0", fused, n_heads(hf_config), kind)
            weights |= linear(f"{block}.sublayers.0.out", f"{hf_block}.self_attention.dense", tensors)
            weights |= linear(f"{block}.sublayers.1.up", f"{hf_block}.mlp.dense_h_to_4h", tensors)
            weights |= linear(f"{block}.sublayers.1.down", f"{hf_block}.mlp.dense_4h_to_h", tensors)
            weights |= linear(f"{block}.norms.0", f"{hf_block}.input_layernorm", tensors)
            weights |= linear(f"{block}.norms.1", f"{hf_block}.post_attention_layernorm", tensors)
        return weights


def n_heads(hf_config: dict[str, Any]) -> int:
    """The number of heads; published files have another key for it than transformers."""
    return int(hf_config["n_head"] if "n_head" in hf_config else hf_config["num_attention_heads"])


@register("checkpoint", "mpt", source="MosaicML 2023, Introducing MPT-7B; ALiBi: arXiv:2108.12409")
class MPT(Checkpoint):
    """MPT: pre_norm, ALiBi, no biases."""

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
    """By key of ``attn_config``, the only value that can be imported."""

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        attention = hf_config.get("attn_config") or {}
        if not isinstance(attention, dict):
            raise ValueError(f"attn_config must be a mapping, not {attention!r:.40}")
        for key, allowed in self.assumes_of_attention.items():
            if attention.get(key, allowed) != allowed:
                raise ValueError(f"attn_config.{key} {attention[key]} cannot be imported, only {allowed}")
        return {
            "architecture": "decoder",
            "d_model": hf_config["d_model"],
            "n_layers": hf_config["n_layers"],
            "n_heads": hf_config["n_heads"],
            "n_kv_heads": None,
            "dropout": hf_config["resid_pdrop"],
            "tie_embeddings": True,
            "max_length": None,
            "position": "alibi",
            "block": "pre_norm",
            "norm": {"name": "layer_norm", "eps": hf_config["layer_norm_epsilon"], "bias": False},
            "mixer": {"name": "attention", "dropout": attention.get("attn_pdrop", 0.0)},
            "feedforward": {"name": "mlp", "activation": "gelu", "expansion": hf_config["expansion_ratio"]},
            "residual": "plain",
            "initialization": "gpt2",
        }

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        weights = {"embedding.table.weight": tensors["wte.weight"], "stack.norm.weight": tensors["norm_f.weight"]}
        for layer in range(hf_config["n_layers"]):
            block, hf_block = f"stack.blocks.{layer}", f"blocks.{layer}"
            weights |= split_thirds(f"{block}.sublayers.0", tensors[f"{hf_block}.attn.Wqkv.weight"], "weight")
            names = {"sublayers.0.out": "attn.out_proj", "norms.0": "norm_1", "norms.1": "norm_2"}
            names |= {"sublayers.1.up": "ffn.up_proj", "sublayers.1.down": "ffn.down_proj"}
            for part, name in names.items():
                weights |= linear(f"{block}.{part}", f"{hf_block}.{name}", tensors, bias=False)
        return weights
