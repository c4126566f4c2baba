"""LLaMA and what is built like it."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, head_width, linear

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@register("checkpoint", "llama", source="Touvron et al. 2023, arXiv:2302.13971")
class LLaMA(Checkpoint):
    """LLaMA: pre_norm on rms_norm, RoPE, SwiGLU, grouped heads, no biases."""

    defaults: ClassVar[dict[str, Any]] = {
        "num_key_value_heads": None,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("silu",),
        "attention_bias": (False,),
        "mlp_bias": (False,),
    }
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        return {
            "architecture": "decoder",
            "d_model": theirs["hidden_size"],
            "n_layers": theirs["num_hidden_layers"],
            "n_heads": theirs["num_attention_heads"],
            "n_kv_heads": theirs["num_key_value_heads"],
            **head_width(theirs.get("head_dim"), theirs["hidden_size"], theirs["num_attention_heads"]),
            "dropout": 0.0,
            "tie_embeddings": theirs["tie_word_embeddings"],
            "max_length": theirs["max_position_embeddings"],
            "position": {"name": "rope", "theta": float(rope_parameters(theirs)["rope_theta"])},
            "block": "pre_norm",
            "norm": {"name": "rms_norm", "eps": theirs["rms_norm_eps"]},
            "mixer": {"name": "attention"},
            "feedforward": {
                "name": "glu",
                "activation": "silu",
                "expansion": theirs["intermediate_size"] / theirs["hidden_size"],
            },
            "residual": "plain",
            "initialization": "gpt2",
        }

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        readout = {} if theirs["tie_word_embeddings"] else {"readout.table.weight": tensors["lm_head.weight"]}
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        found = {
            "embedding.table.weight": tensors["embed_tokens.weight"],
            "stack.norm.weight": tensors["norm.weight"],
            **readout,
        }
        for layer in range(theirs["num_hidden_layers"]):
            ours, old = f"stack.blocks.{layer}", f"layers.{layer}"
            found |= attention(f"{ours}.sublayers.0", f"{old}.self_attn", ATTENTION, tensors, bias=False)
            for part in ("gate", "up", "down"):
                found |= linear(f"{ours}.sublayers.1.{part}", f"{old}.mlp.{part}_proj", tensors, bias=False)
            for index, name in enumerate(self.norms):
                found[f"{ours}.norms.{index}.weight"] = tensors[f"{old}.{name}.weight"]
            found |= self.more(ours, old, tensors)
        return found

    def more(self, ours: str, old: str, tensors: Weights) -> Weights:
        """What a system built like LLaMA has besides, in one layer."""
        return {}


@register("checkpoint", "olmo2", source="OLMo Team 2024, arXiv:2501.00656")
class OLMo2(LLaMA):
    """OLMo 2: LLaMA with norms on what joins the stream, and on queries and keys."""

    defaults: ClassVar[dict[str, Any]] = {**LLaMA.defaults, "rms_norm_eps": 1e-5}
    norms = ("post_attention_layernorm", "post_feedforward_layernorm")

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        eps = theirs["rms_norm_eps"]
        mixer = {"name": "attention", "qk_norm": {"name": "rms_full", "eps": eps}}
        return {**super().model(theirs), "block": "branch_norm", "mixer": mixer}

    def more(self, ours: str, old: str, tensors: Weights) -> Weights:
        norms, attention = f"{ours}.sublayers.0.qk_norm", f"{old}.self_attn"
        return {
            f"{norms}.query.weight": tensors[f"{attention}.q_norm.weight"],
            f"{norms}.key.weight": tensors[f"{attention}.k_norm.weight"],
        }


@register("checkpoint", "gemma2", source="Gemma Team 2024, arXiv:2408.00118")
class Gemma2(LLaMA):
    """Gemma 2: sandwich norms with gain 1 + w, scaled embeddings, soft caps, every second layer within a window."""

    defaults: ClassVar[dict[str, Any]] = {
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_activation": ("gelu_pytorch_tanh",),
        "attention_bias": (False,),
        "use_bidirectional_attention": (False, None),
    }
    norms = (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    )

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        like_llama = super().model(theirs)
        return {
            **like_llama,
            "embedding": "scaled",
            "lm_head": {"name": "soft_capped", "cap": theirs["final_logit_softcapping"]},
            "block": "sandwich",
            "norm": {"name": "rms_norm", "eps": theirs["rms_norm_eps"], "unit_offset": True},
            "mixer": {
                "name": "attention",
                "backend": "manual",
                "scale": theirs["query_pre_attn_scalar"] ** -0.5,
                "soft_cap": theirs["attn_logit_softcapping"],
                "window": theirs["sliding_window"],
            },
            "layers": [{"every": 2, "first": 1, "set": {"mixer.window": None}}],
            "feedforward": {**like_llama["feedforward"], "activation": "gelu_tanh"},
        }


def rope_parameters(theirs: dict[str, Any]) -> dict[str, Any]:
    """Where a config.json keeps RoPE's base: in a mapping of its own since transformers 5, else beside the sizes."""
    parameters = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    kind = parameters.get("rope_type", "default")
    if kind != "default":
        raise ValueError(f"RoPE scaling {kind!r} is not imported; only models without it are")
    return {"rope_theta": theirs.get("rope_theta", 10_000.0), **parameters}
