"""T5."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, head_width, linear

ATTENTION = ("q", "k", "v", "o")


@register("checkpoint", "t5", source="Raffel et al. 2019, arXiv:1910.10683")
class T5(Checkpoint):
    """T5: encoder and decoder with pre_norm, rms_norm, a bias by distance shared by all layers, unscaled scores."""

    defaults: ClassVar[dict[str, Any]] = {
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6,
        "tie_word_embeddings": True,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {
        "feed_forward_proj": ("relu", "gated-gelu"),
        "is_encoder_decoder": (True,),
    }

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        gated = hf_config["feed_forward_proj"].startswith("gated-")
        activation = hf_config["feed_forward_proj"].removeprefix("gated-")
        tied = hf_config["tie_word_embeddings"]
        scaled = hf_config.get("scale_decoder_outputs", tied)  # older files have one key for both
        mixer = {"name": "attention", "scale": False, "dropout": hf_config["dropout_rate"]}
        return {
            "architecture": {"name": "encoder_decoder", "cross": mixer, "encoder_layers": hf_config["num_layers"]},
            "d_model": hf_config["d_model"],
            "n_layers": hf_config.get("num_decoder_layers") or hf_config["num_layers"],
            "n_heads": hf_config["num_heads"],
            "n_kv_heads": None,
            **head_width(hf_config["d_kv"], hf_config["d_model"], hf_config["num_heads"]),
            "dropout": hf_config["dropout_rate"],
            "tie_embeddings": tied,
            "max_length": None,
            "lm_head": {"name": "linear", "scale": hf_config["d_model"] ** -0.5 if scaled else None},
            "position": {
                "name": "t5",
                "buckets": hf_config["relative_attention_num_buckets"],
                "max_distance": hf_config.get("relative_attention_max_distance", 128),
            },
            "block": "pre_norm",
            "norm": {"name": "rms_norm", "eps": hf_config["layer_norm_epsilon"]},
            "mixer": mixer,
            "feedforward": {
                "name": "glu" if gated else "mlp",
                "activation": "gelu_tanh" if activation == "gelu" else activation,
                "expansion": hf_config["d_ff"] / hf_config["d_model"],
            },
            "residual": "plain",
            "initialization": "t5",
        }

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        weights = {"embedding.table.weight": tensors["shared.weight"]}
        if not hf_config["tie_word_embeddings"]:
            weights["readout.table.weight"] = tensors["lm_head.weight"]
        elif not tensors.get("lm_head.weight", tensors["shared.weight"]).equal(tensors["shared.weight"]):
            raise ValueError("lm_head.weight differs from shared.weight, although tie_word_embeddings is true")
        n_decoder_layers = hf_config.get("num_decoder_layers") or hf_config["num_layers"]
        for stack, n_layers in (("encoder", hf_config["num_layers"]), ("decoder", n_decoder_layers)):
            bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            weights[f"{stack}.position.table"] = tensors[bias]
            weights[f"{stack}.norm.weight"] = tensors[f"{stack}.final_layer_norm.weight"]
            for layer in range(n_layers):
                weights |= self.layer(f"{stack}.blocks.{layer}", f"{stack}.block.{layer}.layer", stack, tensors)
        return weights

    def layer(self, block: str, hf_block: str, stack: str, tensors: Weights) -> Weights:
        """The weights of a layer: self-attention, in a decoder cross-attention, feedforward, the norm before each."""
        weights = attention(f"{block}.sublayers.0", f"{hf_block}.0.SelfAttention", ATTENTION, tensors, bias=False)
        last = 1
        if stack == "decoder":
            last = 2
            cross = f"{block}.sublayers.1.mixer"
            weights |= attention(cross, f"{hf_block}.1.EncDecAttention", ATTENTION, tensors, bias=False)
        dense = f"{hf_block}.{last}.DenseReluDense"
        names = {"gate": "wi_0", "up": "wi_1", "down": "wo"}
        if f"{dense}.wi.weight" in tensors:
            names = {"up": "wi", "down": "wo"}
        for part, name in names.items():
            weights |= linear(f"{block}.sublayers.{last}.{part}", f"{dense}.{name}", tensors, bias=False)
        for index in range(last + 1):
            weights[f"{block}.norms.{index}.weight"] = tensors[f"{hf_block}.{index}.layer_norm.weight"]
        return weights
