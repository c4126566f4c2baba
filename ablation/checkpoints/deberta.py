"""DeBERTa."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, linear, split_heads

ATTENTION = ("self.query_proj", "self.key_proj", "self.value_proj", "output.dense")
TABLE = {"table_key": "pos_key_proj", "table_query": "pos_query_proj"}


@register(
    "checkpoint",
    "deberta-v2",
    source="v2: He et al. 2020, arXiv:2006.03654; v3: He, Gao and Chen 2021, arXiv:2111.09543",
)
class DeBERTa(Checkpoint):
    """DeBERTa v2 and v3: BERT whose attention takes content and distance apart, with one table of distances.

    Not carried, and refused: the convolution beside the first layer that the published v2 have, absolute positions,
    segments. The decoder that adds absolute positions before the head is left out, as transformers does.
    The head is read under the names of a file by its authors as well as under those of transformers' own. Both, v2 and
    v3, call themselves deberta-v2; deberta is the first.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "layer_norm_eps": 1e-7,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {"hidden_act": ("gelu",)}

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        refuse_what_is_not_carried(theirs)
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
            "position": "none",
            "block": "post_norm",
            "norm": {"name": "layer_norm", "eps": eps},
            "mixer": {
                "name": "disentangled",
                "content_to_position": "c2p" in terms(theirs),
                "position_to_content": "p2c" in terms(theirs),
                "bias": True,
                "dropout": theirs["attention_probs_dropout_prob"],
                **self.table(theirs),
            },
            "feedforward": {
                "name": "mlp",
                "activation": "gelu",
                "expansion": theirs["intermediate_size"] / theirs["hidden_size"],
                "bias": True,
            },
            "residual": "plain",
            "initialization": "gpt2",
        }

    def table(self, theirs: dict[str, Any]) -> dict[str, Any]:
        """What the mixer's table of distances holds, and how it is read."""
        return {
            "buckets": positive(theirs.get("position_buckets"), None),
            "max_distance": positive(theirs.get("max_relative_positions"), theirs["max_position_embeddings"]),
            "share_projections": theirs.get("share_att_key", False),
            "table_norm": has_table_norm(theirs),
            "eps": theirs["layer_norm_eps"],
        }

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        dense, norm, bias = head_names(tensors)
        found = {
            **linear("readout.form.dense", dense, tensors),
            **linear("readout.form.norm", norm, tensors),
            "readout.form.bias": tensors[bias],
        }
        tensors = {name.removeprefix("deberta."): tensor for name, tensor in tensors.items()}
        table = "stack.blocks.0.sublayers.0.table"
        found |= {
            "embedding.table.weight": tensors["embeddings.word_embeddings.weight"],
            **linear("embedding.norm", "embeddings.LayerNorm", tensors),
            f"{table}.weight": tensors["encoder.rel_embeddings.weight"],
        }
        if has_table_norm(theirs):
            found |= linear(f"{table}_norm", "encoder.LayerNorm", tensors)
        for layer in range(theirs["num_hidden_layers"]):
            ours, old = f"stack.blocks.{layer}", f"encoder.layer.{layer}"
            found |= self.attention(theirs, f"{ours}.sublayers.0", f"{old}.attention", tensors)
            found |= linear(f"{ours}.norms.0", f"{old}.attention.output.LayerNorm", tensors)
            found |= linear(f"{ours}.norms.1", f"{old}.output.LayerNorm", tensors)
            found |= linear(f"{ours}.sublayers.1.up", f"{old}.intermediate.dense", tensors)
            found |= linear(f"{ours}.sublayers.1.down", f"{old}.output.dense", tensors)
        return found

    def attention(self, theirs: dict[str, Any], ours: str, old: str, tensors: Weights) -> Weights:
        """The maps of one layer's contents, and those of its distances where they are apart."""
        found = attention(ours, old, ATTENTION, tensors)
        for part, name in TABLE.items():
            if f"{old}.self.{name}.weight" in tensors:
                found |= linear(f"{ours}.{part}", f"{old}.self.{name}", tensors)
        return found


@register("checkpoint", "deberta", source="He et al. 2020, arXiv:2006.03654")
class DeBERTaV1(DeBERTa):
    """The first DeBERTa: one vector per distance, read by maps of its own; keys have no bias, so ours are zero."""

    def table(self, theirs: dict[str, Any]) -> dict[str, Any]:
        return {**super().table(theirs), "buckets": None, "share_projections": False}

    def attention(self, theirs: dict[str, Any], ours: str, old: str, tensors: Weights) -> Weights:
        within = f"{old}.self"
        queries, values = tensors[f"{within}.q_bias"], tensors[f"{within}.v_bias"]
        found = {
            **split_heads(ours, tensors[f"{within}.in_proj.weight"], theirs["num_attention_heads"], "weight"),
            f"{ours}.query.bias": queries,
            f"{ours}.key.bias": queries.new_zeros(queries.shape),
            f"{ours}.value.bias": values,
            **linear(f"{ours}.out", f"{old}.output.dense", tensors),
        }
        if "c2p" in terms(theirs):
            found[f"{ours}.table_key.weight"] = tensors[f"{within}.pos_proj.weight"]
            found[f"{ours}.table_key.bias"] = queries.new_zeros(queries.shape)
        if "p2c" in terms(theirs):
            found |= linear(f"{ours}.table_query", f"{within}.pos_q_proj", tensors)
        return found


def refuse_what_is_not_carried(theirs: dict[str, Any]) -> None:
    """Errors: ValueError naming what a model of theirs has that ours could not hold."""
    width, heads = theirs["hidden_size"], theirs["num_attention_heads"]
    foreign = {
        "relative_attention off": not theirs.get("relative_attention", False),
        "pos_att_type without c2p and p2c": not {"c2p", "p2c"} & set(terms(theirs)),
        "position_biased_input, absolute positions": theirs.get("position_biased_input", True),
        "type_vocab_size, segments": theirs.get("type_vocab_size", 0) > 0,
        "conv_kernel_size, a convolution beside the first layer": theirs.get("conv_kernel_size", 0) > 0,
        "talking_head, heads that are mixed": theirs.get("talking_head", False),
        "embedding_size other than hidden_size": theirs.get("embedding_size", width) != width,
        "attention_head_size that does not add up": theirs.get("attention_head_size", width // heads) * heads != width,
        "hidden_act other than gelu": theirs["hidden_act"] != "gelu",
        "tie_word_embeddings off": not theirs.get("tie_word_embeddings", True),
    }
    found = [what for what, is_there in foreign.items() if is_there]
    if found:
        raise ValueError(f"a DeBERTa with {'; '.join(found)} is not imported")


def terms(theirs: dict[str, Any]) -> list[str]:
    """Of the attention, ``c2p`` and ``p2c``: a list, in files by their authors joined by ``|``."""
    given = theirs.get("pos_att_type") or []
    return [term.strip() for term in given.lower().split("|")] if isinstance(given, str) else list(given)


def positive(given: int | None, otherwise: int | None) -> int | None:
    """They write -1 for what is not given."""
    return given if given is not None and given > 0 else otherwise


def has_table_norm(theirs: dict[str, Any]) -> bool:
    """Whether the vectors of the distances are normed before they are read."""
    return "layer_norm" in [part.strip() for part in theirs.get("norm_rel_ebd", "none").lower().split("|")]


def head_names(tensors: Weights) -> tuple[str, str, str]:
    """Map, norm and shift of the masked language model's head."""
    if "lm_predictions.lm_head.bias" in tensors:
        head = "lm_predictions.lm_head"
        return f"{head}.dense", f"{head}.LayerNorm", f"{head}.bias"
    head = "cls.predictions"
    return f"{head}.transform.dense", f"{head}.transform.LayerNorm", f"{head}.bias"
