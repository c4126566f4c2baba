"""BERT."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, linear


@register("checkpoint", "bert", source="Devlin et al. 2018, arXiv:1810.04805")
class BERT(Checkpoint):
    """BERT: an encoder with post_norm, learned positions, normalized embeddings and a transform before the LM head.

    The vector of the first segment is added to that of each position, since there is only one segment here.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "tie_word_embeddings": (True,),
    }

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        return encoder(hf_config, "learned", {"name": "attention"})

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        head = "cls.predictions"
        weights = {
            **linear("readout.form.dense", f"{head}.transform.dense", tensors),
            **linear("readout.form.norm", f"{head}.transform.LayerNorm", tensors),
            "readout.form.bias": tensors[f"{head}.bias"],
        }
        tensors = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
        positions, segments = (tensors[f"embeddings.{kind}_embeddings.weight"] for kind in ("position", "token_type"))
        weights |= {
            "embedding.table.weight": tensors["embeddings.word_embeddings.weight"],
            "stack.position.table.weight": positions + segments[0],
            **linear("embedding.norm", "embeddings.LayerNorm", tensors),
        }
        for layer in range(hf_config["num_hidden_layers"]):
            block, hf_block = f"stack.blocks.{layer}", f"encoder.layer.{layer}"
            names = ("self.query", "self.key", "self.value", "output.dense")
            weights |= attention(f"{block}.sublayers.0", f"{hf_block}.attention", names, tensors)
            weights |= norms_and_feedforward(block, hf_block, tensors)
        return weights


def encoder(hf_config: dict[str, Any], position: str, mixer: dict[str, Any]) -> dict[str, Any]:
    """Our ``model`` section for an encoder as BERT's, with the mixer's bias and dropout added."""
    eps = hf_config["layer_norm_eps"]
    return {
        "architecture": "encoder",
        "d_model": hf_config["hidden_size"],
        "n_layers": hf_config["num_hidden_layers"],
        "n_heads": hf_config["num_attention_heads"],
        "n_kv_heads": None,
        "dropout": hf_config["hidden_dropout_prob"],
        "tie_embeddings": True,
        "max_length": hf_config["max_position_embeddings"],
        "embedding": {"name": "normed", "eps": eps},
        "lm_head": {"name": "transform", "eps": eps},
        "position": position,
        "block": "post_norm",
        "norm": {"name": "layer_norm", "eps": eps},
        "mixer": {**mixer, "bias": True, "dropout": hf_config["attention_probs_dropout_prob"]},
        "feedforward": {
            "name": "mlp",
            "activation": "gelu",
            "expansion": hf_config["intermediate_size"] / hf_config["hidden_size"],
            "bias": True,
        },
        "residual": "plain",
        "initialization": "gpt2",
    }


def norms_and_feedforward(block: str, hf_block: str, tensors: Weights) -> Weights:
    """What a layer of BERT and of DeBERTa holds besides attention."""
    return {
        **linear(f"{block}.norms.0", f"{hf_block}.attention.output.LayerNorm", tensors),
        **linear(f"{block}.norms.1", f"{hf_block}.output.LayerNorm", tensors),
        **linear(f"{block}.sublayers.1.up", f"{hf_block}.intermediate.dense", tensors),
        **linear(f"{block}.sublayers.1.down", f"{hf_block}.output.dense", tensors),
    }
