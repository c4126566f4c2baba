"""BERT."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, linear


@register("checkpoint", "bert", source="Devlin et al. 2018, arXiv:1810.04805")
class BERT(Checkpoint):
    """BERT: an encoder with post_norm, learned positions, a norm on the embeddings and a transform before the readout.

    The first segment's vector is added to every position's, since one text is read at a time.
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

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        eps = theirs["layer_norm_eps"]
        return {
            "architecture": "encoder",
            "d_model": theirs["hidden_size"],
            "n_layers": theirs["num_hidden_layers"],
            "n_heads": theirs["num_attention_heads"],
            "n_kv_heads": None,
            "dropout": theirs["hidden_dropout_prob"],
            "tie_embeddings": True,
            "max_length": theirs["max_position_embeddings"],
            "embedding": {"name": "normed", "eps": eps},
            "lm_head": {"name": "transform", "eps": eps},
            "position": "learned",
            "block": "post_norm",
            "norm": {"name": "layer_norm", "eps": eps},
            "mixer": {"name": "attention", "bias": True, "dropout": theirs["attention_probs_dropout_prob"]},
            "feedforward": {
                "name": "mlp",
                "activation": "gelu",
                "expansion": theirs["intermediate_size"] / theirs["hidden_size"],
                "bias": True,
            },
            "residual": "plain",
            "initialization": "gpt2",
        }

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        head = "cls.predictions"
        found = {
            **linear("readout.form.dense", f"{head}.transform.dense", tensors),
            **linear("readout.form.norm", f"{head}.transform.LayerNorm", tensors),
            "readout.form.bias": tensors[f"{head}.bias"],
        }
        tensors = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
        positions, segments = (tensors[f"embeddings.{kind}_embeddings.weight"] for kind in ("position", "token_type"))
        found |= {
            "embedding.table.weight": tensors["embeddings.word_embeddings.weight"],
            "stack.position.table.weight": positions + segments[0],
            **linear("embedding.norm", "embeddings.LayerNorm", tensors),
        }
        for layer in range(theirs["num_hidden_layers"]):
            ours, old = f"stack.blocks.{layer}", f"encoder.layer.{layer}"
            names = ("self.query", "self.key", "self.value", "output.dense")
            found |= attention(f"{ours}.sublayers.0", f"{old}.attention", names, tensors)
            found |= linear(f"{ours}.norms.0", f"{old}.attention.output.LayerNorm", tensors)
            found |= linear(f"{ours}.norms.1", f"{old}.output.LayerNorm", tensors)
            found |= linear(f"{ours}.sublayers.1.up", f"{old}.intermediate.dense", tensors)
            found |= linear(f"{ours}.sublayers.1.down", f"{old}.output.dense", tensors)
        return found
