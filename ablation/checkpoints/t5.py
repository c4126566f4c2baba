"""T5."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, head_width, linear

ATTENTION = ("q", "k", "v", "o")


@register("checkpoint", "t5", source="Raffel et al. 2019, arXiv:1910.10683")
class T5(Checkpoint):
    """T5: encoder and decoder on pre_norm with rms_norm, a shared bias by distance, scores without a scale."""

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

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        gated = theirs["feed_forward_proj"].startswith("gated-")
        activation = theirs["feed_forward_proj"].removeprefix("gated-")
        tied = theirs["tie_word_embeddings"]
        scaled = theirs.get("scale_decoder_outputs", tied)  # newer files say apart what older ones took for the same
        mixer = {"name": "attention", "scale": False, "dropout": theirs["dropout_rate"]}
        return {
            "architecture": {"name": "encoder_decoder", "cross": mixer, "encoder_layers": theirs["num_layers"]},
            "d_model": theirs["d_model"],
            "n_layers": theirs.get("num_decoder_layers") or theirs["num_layers"],
            "n_heads": theirs["num_heads"],
            "n_kv_heads": None,
            **head_width(theirs["d_kv"], theirs["d_model"], theirs["num_heads"]),
            "dropout": theirs["dropout_rate"],
            "tie_embeddings": tied,
            "max_length": None,
            "lm_head": {"name": "linear", "scale": theirs["d_model"] ** -0.5 if scaled else None},
            "position": {
                "name": "t5",
                "buckets": theirs["relative_attention_num_buckets"],
                "max_distance": theirs.get("relative_attention_max_distance", 128),
            },
            "block": "pre_norm",
            "norm": {"name": "rms_norm", "eps": theirs["layer_norm_epsilon"]},
            "mixer": mixer,
            "feedforward": {
                "name": "glu" if gated else "mlp",
                "activation": "gelu_tanh" if activation == "gelu" else activation,
                "expansion": theirs["d_ff"] / theirs["d_model"],
            },
            "residual": "plain",
            "initialization": "t5",
        }

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        found = {"embedding.table.weight": tensors["shared.weight"]}
        if not theirs["tie_word_embeddings"]:
            found["readout.table.weight"] = tensors["lm_head.weight"]
        elif not tensors.get("lm_head.weight", tensors["shared.weight"]).equal(tensors["shared.weight"]):
            raise ValueError("lm_head.weight is not shared.weight, as tie_word_embeddings says")
        n_decoder_layers = theirs.get("num_decoder_layers") or theirs["num_layers"]
        for stack, n_layers in (("encoder", theirs["num_layers"]), ("decoder", n_decoder_layers)):
            bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            found[f"{stack}.position.table"] = tensors[bias]
            found[f"{stack}.norm.weight"] = tensors[f"{stack}.final_layer_norm.weight"]
            for layer in range(n_layers):
                found |= self.layer(f"{stack}.blocks.{layer}", f"{stack}.block.{layer}.layer", stack, tensors)
        return found

    def layer(self, ours: str, old: str, stack: str, tensors: Weights) -> Weights:
        """Self-attention, in the decoder cross-attention, feedforward, and the norm before each."""
        found = attention(f"{ours}.sublayers.0", f"{old}.0.SelfAttention", ATTENTION, tensors, bias=False)
        last = 1
        if stack == "decoder":
            last = 2
            cross = f"{ours}.sublayers.1.mixer"
            found |= attention(cross, f"{old}.1.EncDecAttention", ATTENTION, tensors, bias=False)
        dense = f"{old}.{last}.DenseReluDense"
        names = {"gate": "wi_0", "up": "wi_1", "down": "wo"}
        if f"{dense}.wi.weight" in tensors:
            names = {"up": "wi", "down": "wo"}
        for part, name in names.items():
            found |= linear(f"{ours}.sublayers.{last}.{part}", f"{dense}.{name}", tensors, bias=False)
        for index in range(last + 1):
            found[f"{ours}.norms.{index}.weight"] = tensors[f"{old}.{index}.layer_norm.weight"]
        return found
