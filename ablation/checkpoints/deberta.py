"""DeBERTa."""

from typing import Any, ClassVar

from ..registry import register
from .base import Checkpoint, Weights, attention, linear, split_heads
from .bert import encoder, norms_and_feedforward

ATTENTION = ("self.query_proj", "self.key_proj", "self.value_proj", "output.dense")
TABLE = {"table_key": "pos_key_proj", "table_query": "pos_query_proj"}


@register(
    "checkpoint",
    "deberta-v2",
    source="v2: He et al. 2020, arXiv:2006.03654; v3: He, Gao and Chen 2021, arXiv:2111.09543",
)
class DeBERTa(Checkpoint):
    """DeBERTa v2 and v3: BERT with disentangled attention to content and distance, with one table of distances.

    Absolute positions, segments, and the convolution beside the first layer of the published v2 are not supported and
    refused. The decoder that adds absolute positions before the LM head is left out, as in transformers. The LM head is
    read under the names in the authors' files or those of transformers. In ``config.json`` v2 and v3 are both called
    deberta-v2, the first version deberta.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "layer_norm_eps": 1e-7,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
    }
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {"hidden_act": ("gelu",)}

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        refuse_unsupported(hf_config)
        mixer = {
            "name": "disentangled",
            "content_to_position": "c2p" in terms(hf_config),
            "position_to_content": "p2c" in terms(hf_config),
            **self.table(hf_config),
        }
        return encoder(hf_config, "none", mixer)

    def table(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        """The hyper-parameters of the mixer's table of distances."""
        return {
            "buckets": positive(hf_config.get("position_buckets"), None),
            "max_distance": positive(hf_config.get("max_relative_positions"), hf_config["max_position_embeddings"]),
            "share_projections": hf_config.get("share_att_key", False),
            "table_norm": has_table_norm(hf_config),
            "eps": hf_config["layer_norm_eps"],
        }

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        dense, norm, bias = head_names(tensors)
        weights = {
            **linear("readout.form.dense", dense, tensors),
            **linear("readout.form.norm", norm, tensors),
            "readout.form.bias": tensors[bias],
        }
        tensors = {name.removeprefix("deberta."): tensor for name, tensor in tensors.items()}
        table = "stack.blocks.0.sublayers.0.table"
        weights |= {
            "embedding.table.weight": tensors["embeddings.word_embeddings.weight"],
            **linear("embedding.norm", "embeddings.LayerNorm", tensors),
            f"{table}.weight": tensors["encoder.rel_embeddings.weight"],
        }
        if has_table_norm(hf_config):
            weights |= linear(f"{table}_norm", "encoder.LayerNorm", tensors)
        for layer in range(hf_config["num_hidden_layers"]):
            block, hf_block = f"stack.blocks.{layer}", f"encoder.layer.{layer}"
            weights |= self.attention(hf_config, f"{block}.sublayers.0", f"{hf_block}.attention", tensors)
            weights |= norms_and_feedforward(block, hf_block, tensors)
        return weights

    def attention(self, hf_config: dict[str, Any], block: str, hf_block: str, tensors: Weights) -> Weights:
        """The linear maps of one layer for content, and those for distances where they are separate."""
        weights = attention(block, hf_block, ATTENTION, tensors)
        for part, name in TABLE.items():
            if f"{hf_block}.self.{name}.weight" in tensors:
                weights |= linear(f"{block}.{part}", f"{hf_block}.self.{name}", tensors)
        return weights


@register("checkpoint", "deberta", source="He et al. 2020, arXiv:2006.03654")
class DeBERTaV1(DeBERTa):
    """The first DeBERTa: one vector per distance, with separate projections; keys have no bias, so ours are zero."""

    def table(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        return {**super().table(hf_config), "buckets": None, "share_projections": False}

    def attention(self, hf_config: dict[str, Any], block: str, hf_block: str, tensors: Weights) -> Weights:
        within = f"{hf_block}.self"
        queries, values = tensors[f"{within}.q_bias"], tensors[f"{within}.v_bias"]
        weights = {
            **split_heads(block, tensors[f"{within}.in_proj.weight"], hf_config["num_attention_heads"], "weight"),
            f"{block}.query.bias": queries,
            f"{block}.key.bias": queries.new_zeros(queries.shape),
            f"{block}.value.bias": values,
            **linear(f"{block}.out", f"{hf_block}.output.dense", tensors),
        }
        if "c2p" in terms(hf_config):
            weights[f"{block}.table_key.weight"] = tensors[f"{within}.pos_proj.weight"]
            weights[f"{block}.table_key.bias"] = queries.new_zeros(queries.shape)
        if "p2c" in terms(hf_config):
            weights |= linear(f"{block}.table_query", f"{within}.pos_q_proj", tensors)
        return weights


def refuse_unsupported(hf_config: dict[str, Any]) -> None:
    """Errors: ValueError naming what the checkpoint has that this package does not."""
    width, heads = hf_config["hidden_size"], hf_config["num_attention_heads"]
    unsupported = {
        "relative_attention off": not hf_config.get("relative_attention", False),
        "pos_att_type without c2p and p2c": not {"c2p", "p2c"} & set(terms(hf_config)),
        "position_biased_input, absolute positions": hf_config.get("position_biased_input", True),
        "type_vocab_size, segments": hf_config.get("type_vocab_size", 0) > 0,
        "conv_kernel_size, a convolution beside the first layer": hf_config.get("conv_kernel_size", 0) > 0,
        "talking_head, mixed heads": hf_config.get("talking_head", False),
        "embedding_size other than hidden_size": hf_config.get("embedding_size", width) != width,
        "attention_head_size that does not add up": hf_config.get("attention_head_size", width // heads) * heads
        != width,
        "hidden_act other than gelu": hf_config["hidden_act"] != "gelu",
        "tie_word_embeddings off": not hf_config.get("tie_word_embeddings", True),
    }
    present = [what for what, is_present in unsupported.items() if is_present]
    if present:
        raise ValueError(f"a DeBERTa with {'; '.join(present)} cannot be imported")


def terms(hf_config: dict[str, Any]) -> list[str]:
    """The terms of the attention scores, ``c2p`` and ``p2c``: a list, or in the authors' files joined by ``|``."""
    names = hf_config.get("pos_att_type") or []
    return [name.strip() for name in names.lower().split("|")] if isinstance(names, str) else list(names)


def positive(value: int | None, default: int | None) -> int | None:
    """``value``, or ``default`` where it is missing or -1, which means the same."""
    return value if value is not None and value > 0 else default


def has_table_norm(hf_config: dict[str, Any]) -> bool:
    """Whether the vectors of the distances are normalized."""
    return "layer_norm" in [part.strip() for part in hf_config.get("norm_rel_ebd", "none").lower().split("|")]


def head_names(tensors: Weights) -> tuple[str, str, str]:
    """The names of the linear map, the norm and the bias of the masked LM head."""
    if "lm_predictions.lm_head.bias" in tensors:
        head = "lm_predictions.lm_head"
        return f"{head}.dense", f"{head}.LayerNorm", f"{head}.bias"
    head = "cls.predictions"
    return f"{head}.transform.dense", f"{head}.transform.LayerNorm", f"{head}.bias"
