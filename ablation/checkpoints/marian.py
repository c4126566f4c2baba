"""Marian: the Transformer of 2017, as used for translation."""

from typing import Any

import torch
from torch import Tensor

from ..registry import register
from .base import Checkpoint, Weights, attention, linear

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


@register(
    "checkpoint",
    "marian",
    source="Vaswani et al. 2017, arXiv:1706.03762; Junczys-Dowmunt et al. 2018, arXiv:1804.00344",
)
class Marian(Checkpoint):
    """The original encoder-decoder: post_norm, sinusoidal positions, scaled and shared embeddings, biases.

    Marian has sines in the first half of the features and cosines in the second; here they alternate. The result does
    not depend on the order of features, so all weights that read or write the residual stream are reordered.
    """

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        mixer = {"name": "attention", "bias": True, "dropout": hf_config["attention_dropout"]}
        if hf_config["encoder_ffn_dim"] != hf_config["decoder_ffn_dim"]:
            raise ValueError("encoder_ffn_dim and decoder_ffn_dim differ; both stacks share one feedforward here")
        return {
            "architecture": {"name": "encoder_decoder", "cross": mixer, "encoder_layers": hf_config["encoder_layers"]},
            "d_model": hf_config["d_model"],
            "n_layers": hf_config["decoder_layers"],
            "n_heads": hf_config["decoder_attention_heads"],
            "n_kv_heads": None,
            "dropout": hf_config["dropout"],
            "tie_embeddings": True,
            "max_length": None,
            "position": {"name": "sinusoidal", "embedding_scale": None if hf_config["scale_embedding"] else 1.0},
            "block": "post_norm",
            "norm": "layer_norm",
            "mixer": mixer,
            "feedforward": {
                "name": "mlp",
                "activation": {"swish": "silu"}.get(hf_config["activation_function"], hf_config["activation_function"]),
                "expansion": hf_config["decoder_ffn_dim"] / hf_config["d_model"],
                "bias": True,
            },
            "residual": "plain",
            "initialization": "xavier",
        }

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        if tensors["final_logits_bias"].any():
            raise ValueError("final_logits_bias is not zero; the LM head here has no bias")
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        weights = {"embedding.table.weight": tensors["shared.weight"]}
        for stack in ("encoder", "decoder"):
            for layer in range(hf_config[f"{stack}_layers"]):
                weights |= self.layer(f"{stack}.blocks.{layer}", f"{stack}.layers.{layer}", stack == "decoder", tensors)
        order = torch.arange(hf_config["d_model"]).view(2, -1).T.flatten()
        return {name: _reorder(name, tensor, order) for name, tensor in weights.items()}

    def layer(self, block: str, hf_block: str, has_cross_attention: bool, tensors: Weights) -> Weights:
        """The weights of a layer: self-attention, in a decoder cross-attention, feedforward, the norm after each."""
        weights = attention(f"{block}.sublayers.0", f"{hf_block}.self_attn", ATTENTION, tensors)
        norms, last = ["self_attn_layer_norm", "final_layer_norm"], 1
        if has_cross_attention:
            weights |= attention(f"{block}.sublayers.1.mixer", f"{hf_block}.encoder_attn", ATTENTION, tensors)
            norms, last = ["self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"], 2
        weights |= linear(f"{block}.sublayers.{last}.up", f"{hf_block}.fc1", tensors)
        weights |= linear(f"{block}.sublayers.{last}.down", f"{hf_block}.fc2", tensors)
        for index, name in enumerate(norms):
            weights |= linear(f"{block}.norms.{index}", f"{hf_block}.{name}", tensors)
        return weights


def _reorder(name: str, tensor: Tensor, order: Tensor) -> Tensor:
    """The features of the stream in our order: columns of weights that read it, rows of weights that write to it."""
    writes = name.endswith((".out.weight", ".out.bias", ".down.weight", ".down.bias")) or ".norms." in name
    if writes:
        return tensor[order]
    return tensor[:, order] if tensor.dim() == 2 else tensor
