"""Marian: the Transformer of 2017 as it is still used to translate."""

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

    It keeps sines in the first half of the features and cosines in the second, ours take turns: a model does not mind
    the order of its features, so they are put into ours wherever the stream is read or written.
    """

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        mixer = {"name": "attention", "bias": True, "dropout": theirs["attention_dropout"]}
        if theirs["encoder_ffn_dim"] != theirs["decoder_ffn_dim"]:
            raise ValueError("encoder_ffn_dim and decoder_ffn_dim differ; both stacks share one feedforward here")
        return {
            "architecture": {"name": "encoder_decoder", "cross": mixer, "encoder_layers": theirs["encoder_layers"]},
            "d_model": theirs["d_model"],
            "n_layers": theirs["decoder_layers"],
            "n_heads": theirs["decoder_attention_heads"],
            "n_kv_heads": None,
            "dropout": theirs["dropout"],
            "tie_embeddings": True,
            "max_length": None,
            "position": {"name": "sinusoidal", "embedding_scale": None if theirs["scale_embedding"] else 1.0},
            "block": "post_norm",
            "norm": "layer_norm",
            "mixer": mixer,
            "feedforward": {
                "name": "mlp",
                "activation": {"swish": "silu"}.get(theirs["activation_function"], theirs["activation_function"]),
                "expansion": theirs["decoder_ffn_dim"] / theirs["d_model"],
                "bias": True,
            },
            "residual": "plain",
            "initialization": "xavier",
        }

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        if tensors["final_logits_bias"].any():
            raise ValueError("final_logits_bias is not zero; the readout here has no shift")
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        found = {"embedding.table.weight": tensors["shared.weight"]}
        for stack in ("encoder", "decoder"):
            for layer in range(theirs[f"{stack}_layers"]):
                found |= self.layer(f"{stack}.blocks.{layer}", f"{stack}.layers.{layer}", stack == "decoder", tensors)
        order = torch.arange(theirs["d_model"]).view(2, -1).T.flatten()
        return {name: _in_turns(name, tensor, order) for name, tensor in found.items()}

    def layer(self, ours: str, old: str, crosses: bool, tensors: Weights) -> Weights:
        """Self-attention, in the decoder cross-attention, feedforward, and the norm after each."""
        found = attention(f"{ours}.sublayers.0", f"{old}.self_attn", ATTENTION, tensors)
        norms, last = ["self_attn_layer_norm", "final_layer_norm"], 1
        if crosses:
            found |= attention(f"{ours}.sublayers.1.mixer", f"{old}.encoder_attn", ATTENTION, tensors)
            norms, last = ["self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"], 2
        found |= linear(f"{ours}.sublayers.{last}.up", f"{old}.fc1", tensors)
        found |= linear(f"{ours}.sublayers.{last}.down", f"{old}.fc2", tensors)
        for index, name in enumerate(norms):
            found |= linear(f"{ours}.norms.{index}", f"{old}.{name}", tensors)
        return found


def _in_turns(name: str, tensor: Tensor, order: Tensor) -> Tensor:
    """The features of the stream in our order: columns of what reads it, rows of what writes to it."""
    writes = name.endswith((".out.weight", ".out.bias", ".down.weight", ".down.bias")) or ".norms." in name
    if writes:
        return tensor[order]
    return tensor[:, order] if tensor.dim() == 2 else tensor
