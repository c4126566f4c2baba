"""LLaMA and its relatives OLMo 2 and Gemma 2."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, head_width, linear

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@register("checkpoint", "llama", source="Touvron et al. 2023, arXiv:2302.13971")
class LLaMA(Checkpoint):
    """LLaMA: pre_norm with rms_norm, RoPE, SwiGLU, grouped-query attention, no biases."""

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

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        return {
            "architecture": "decoder",
            "d_model": hf_config["hidden_size"],
            "n_layers": hf_config["num_hidden_layers"],
            "n_heads": hf_config["num_attention_heads"],
            "n_kv_heads": hf_config["num_key_value_heads"],
            **head_width(hf_config.get("head_dim"), hf_config["hidden_size"], hf_config["num_attention_heads"]),
            "dropout": 0.0,
            "tie_embeddings": hf_config["tie_word_embeddings"],
            "max_length": hf_config["max_position_embeddings"],
            "position": {"name": "rope", "theta": float(rope_parameters(hf_config)["rope_theta"])},
            "block": "pre_norm",
            "norm": {"name": "rms_norm", "eps": hf_config["rms_norm_eps"]},
            "mixer": {"name": "attention"},
            "feedforward": {
                "name": "glu",
                "activation": "silu",
                "expansion": hf_config["intermediate_size"] / hf_config["hidden_size"],
            },
            "residual": "plain",
            "initialization": "gpt2",
        }

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        lm_head = {} if hf_config["tie_word_embeddings"] else {"readout.table.weight": tensors["lm_head.weight"]}
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        weights = {
            "embedding.table.weight": tensors["embed_tokens.weight"],
            "stack.norm.weight": tensors["norm.weight"],
            **lm_head,
        }
        for layer in range(hf_config["num_hidden_layers"]):
            block, hf_block = f"stack.blocks.{layer}", f"layers.{layer}"
            weights |= attention(f"{block}.sublayers.0", f"{hf_block}.self_attn", ATTENTION, tensors, bias=False)
            for part in ("gate", "up", "down"):
                weights |= linear(f"{block}.sublayers.1.{part}", f"{hf_block}.mlp.{part}_proj", tensors, bias=False)
            for index, name in enumerate(self.norms):
                weights[f"{block}.norms.{index}.weight"] = tensors[f"{hf_block}.{name}.weight"]
            weights |= self.further_weights(block, hf_block, tensors)
        return weights

    def further_weights(self, block: str, hf_block: str, tensors: Weights) -> Weights:
        """Parameters of one layer that LLaMA does not have, for subclasses."""
        return {}


@register("checkpoint", "olmo2", source="OLMo Team 2024, arXiv:2501.00656")
class OLMo2(LLaMA):
    """OLMo 2: LLaMA with norms on the outputs of sublayers, and on queries and keys."""

    defaults: ClassVar[dict[str, Any]] = {**LLaMA.defaults, "rms_norm_eps": 1e-5}
    norms = ("post_attention_layernorm", "post_feedforward_layernorm")

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        eps = hf_config["rms_norm_eps"]
        mixer = {"name": "attention", "qk_norm": {"name": "rms_full", "eps": eps}}
        return {**super().model(hf_config), "block": "branch_norm", "mixer": mixer}

    def further_weights(self, block: str, hf_block: str, tensors: Weights) -> Weights:
        norms, attention = f"{block}.sublayers.0.qk_norm", f"{hf_block}.self_attn"
        return {
            f"{norms}.query.weight": tensors[f"{attention}.q_norm.weight"],
            f"{norms}.key.weight": tensors[f"{attention}.k_norm.weight"],
        }


@register("checkpoint", "gemma2", source="Gemma Team 2024, arXiv:2408.00118")
class Gemma2(LLaMA):
    """Gemma 2: sandwich norms with gain 1 + w, scaled embeddings, soft caps, a window in every second layer."""

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

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        llama = super().model(hf_config)
        return {
            **llama,
            "embedding": "scaled",
            "lm_head": {"name": "soft_capped", "cap": hf_config["final_logit_softcapping"]},
            "block": "sandwich",
            "norm": {"name": "rms_norm", "eps": hf_config["rms_norm_eps"], "unit_offset": True},
            "mixer": {
                "name": "attention",
                "backend": "manual",
                "scale": hf_config["query_pre_attn_scalar"] ** -0.5,
                "soft_cap": hf_config["attn_logit_softcapping"],
                "window": hf_config["sliding_window"],
            },
            "layers": [{"every": 2, "first": 1, "set": {"mixer.window": None}}],
            "feedforward": {**llama["feedforward"], "activation": "gelu_tanh"},
        }


def rope_parameters(hf_config: dict[str, Any]) -> dict[str, Any]:
    """The parameters of RoPE: a mapping since transformers 5, a key of the top level before."""
    parameters = hf_config.get("rope_parameters") or hf_config.get("rope_scaling") or {}
    if not isinstance(parameters, dict):
        raise ValueError(f"rope_scaling must be a mapping, not {parameters!r:.40}")
    kind = parameters.get("rope_type", parameters.get("type", "default"))  # its former name
    if kind != "default":
        raise ValueError(f"RoPE scaling {kind!r} cannot be imported, only models without it")
    return {"rope_theta": hf_config.get("rope_theta", 10_000.0), **parameters}
