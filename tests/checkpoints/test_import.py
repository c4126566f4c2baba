"""Checkpoints of Hugging Face's libraries become baselines: their weights, their tokenizer, their scores."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.small_grids import Ablate, ids_of, one_line

from ablation.config.layered import read_base
from ablation.errors import InputError
from ablation.model.build import build_model
from ablation.tasks.base import Task

transformers = pytest.importorskip("transformers", reason="transformers, a test dependency, is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers, the extra bpe, is not installed")

VOCABULARY = 320
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}),
    "llama": (
        "LlamaForCausalLM",
        {
            "hidden_size": 16,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 24,
            "rms_norm_eps": 1e-5,
        },
    ),
    "olmo2": (
        "Olmo2ForCausalLM",
        {
            "hidden_size": 16,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 24,
            "pad_token_id": 0,
        },
    ),
    "gemma2": (
        "Gemma2ForCausalLM",
        {
            "hidden_size": 16,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 4,
            "query_pre_attn_scalar": 4,
            "sliding_window": 5,
            "max_position_embeddings": 24,
        },
    ),
    "gpt_neo": (
        "GPTNeoForCausalLM",
        {
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 2,
            "max_position_embeddings": 24,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 5,
            "embed_dropout": 0.0,
        },
    ),
    "bloom": ("BloomForCausalLM", {"hidden_size": 16, "n_layer": 2, "n_head": 2}),
    "mpt": ("MptForCausalLM", {"d_model": 16, "n_layers": 2, "n_heads": 2, "expansion_ratio": 4}),
    "deberta-v2": (  # as v3 is made, but for its sizes
        "DebertaV2ForMaskedLM",
        {
            "hidden_size": 16,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 24,
            "relative_attention": True,
            "position_buckets": 4,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "position_biased_input": False,
            "legacy": False,
            "type_vocab_size": 0,
        },
    ),
    "deberta": (
        "DebertaForMaskedLM",
        {
            "hidden_size": 16,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 24,
            "max_relative_positions": 7,
            "relative_attention": True,
            "pos_att_type": "c2p|p2c",
            "position_biased_input": False,
            "legacy": False,
            "type_vocab_size": 0,
        },
    ),
    "gemma2 of wide heads": (
        "Gemma2ForCausalLM",
        {
            "hidden_size": 16,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "query_pre_attn_scalar": 4,
            "sliding_window": 5,
            "max_position_embeddings": 24,
        },
    ),
    "bert": (
        "BertForMaskedLM",
        {
            "hidden_size": 16,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 24,
        },
    ),
}
T5_SIZES = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 4}
T5_SIZES |= {"decoder_start_token_id": 0}
TRANSLATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5ForConditionalGeneration", T5_SIZES),
    "t5 v1.1": (
        "T5ForConditionalGeneration",
        {**T5_SIZES, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "t5 v1.1 small": (
        "T5ForConditionalGeneration",
        {**T5_SIZES, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_heads": 3},
    ),
}
"""Systems that make one text of another."""
SPECIAL, FRAME = ["[MASK]", "<|endoftext|>"], ["<pad>", "</s>"]
TEXT = "".join(f"the {number} cats and {number * 7} dogs\n\nsat on a mat.\n" for number in range(400))
ERRORS = {
    "no folder": (lambda folder: shutil.rmtree(folder), "config.json: No such file or directory"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "there is no tokenizer.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "there is no model.safetensors"),
    "a pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "pytorch_model.bin is a pickle, which may run code; only safetensors are read",
    ),
    "broken weights": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"no tensors"),
        "model.safetensors: not a safetensors file",
    ),
    "broken configuration": (lambda folder: (folder / "config.json").write_text("{"), "config.json: not JSON"),
    "another system": (
        lambda folder: said(folder, model_type="gpt3"),
        "model_type 'gpt3' cannot be imported; allowed: ",
    ),
    "another activation": (
        lambda folder: said(folder, activation_function="relu"),
        'activation_function "relu" cannot be imported, only "gelu_new"',
    ),
    "another width": (lambda folder: said(folder, n_embd=32), "embedding.table.weight is (320, 16);"),
    "a missing size": (lambda folder: said(folder, n_embd=None), "config.json: "),
    "more layers than there are": (lambda folder: said(folder, n_layer=3), "lack the tensor 'h.2.ln_1.weight'"),
    "a small vocabulary": (lambda folder: said(folder, vocab_size=310), "embedding.table.weight is (320, 16);"),
}


def said(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``saved(system)``: the folder of a random model of that system, with a tokenizer of fewer tokens than it has."""
    folders: dict[str, Path] = {}

    def save(system: str) -> Path:
        if system not in folders:
            folder = tmp_path_factory.mktemp(system)
            kind, sizes = {**SYSTEMS, **TRANSLATORS}[system]
            torch.manual_seed(0)
            family = getattr(transformers, kind)
            model = family(family.config_class(**sizes, vocab_size=VOCABULARY)).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
            model.save_pretrained(folder)
            tokenizer(FRAME if system in TRANSLATORS else SPECIAL).save(str(folder / "tokenizer.json"))
            folders[system] = folder
        return folders[system]

    return save


def tokenizer(special: list[str]) -> Any:
    pairs = tokenizers.Tokenizer(tokenizers.models.BPE())
    pairs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=310, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    pairs.train_from_iterator([TEXT], trainer)
    return pairs


def model_of(base: Path, changes: dict[str, Any] | None = None) -> tuple[torch.nn.Module, Task]:
    draft = read_base(base)
    (base.parent / "text.txt").write_text(TEXT)
    small = {"task.path": str(base.parent / "text.txt"), "task.length": 12, "task.batch_size": 4}
    for path, value in {**small, **(changes or {})}.items():
        draft.set(path, value, draft.base, ())
    config = draft.build()
    task = config.task.build()
    return build_model(config.model, task.vocabulary, task.longest, config.seed).eval(), task


@pytest.mark.parametrize("system", SYSTEMS)
def test_imported_baseline_gives_the_scores_of_the_checkpoint(
    system: str, saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    answer = ablate("import", saved(system), "--output", tmp_path / "base.yaml", "--json")
    assert answer.code == 0, answer.err
    model, task = model_of(tmp_path / "base.yaml")
    theirs = (
        getattr(transformers, SYSTEMS[system][0]).from_pretrained(saved(system), attn_implementation="eager").eval()
    )
    assert answer.json["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert task.vocabulary == VOCABULARY
    tokens = task.validation()["tokens"]
    with torch.no_grad():
        ours, wanted = model(tokens), theirs(input_ids=tokens).logits
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)
    assert ours.std() > 0.05


@pytest.mark.parametrize(
    ("system", "d_head"),
    [("llama", None), ("gemma2", None), ("gemma2 of wide heads", 8), ("t5 v1.1", None), ("t5 v1.1 small", 4)],
)
def test_head_width_is_written_where_it_differs_from_the_default(
    system: str, d_head: int | None, saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    assert ablate("import", saved(system), "--output", tmp_path / "base.yaml").code == 0
    model = yaml.safe_load((tmp_path / "base.yaml").read_text())["model"]
    assert model.get("d_head") == d_head and ("d_head" in model) == (d_head is not None)


def test_imported_encoder_classifies_with_its_own_special_tokens(
    saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    ablate("import", saved("bert"), "--output", tmp_path / "base.yaml")
    framing = tokenizer(["[PAD]", "[CLS]", "[SEP]", "[MASK]"])
    framing.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    framing.save(str(tmp_path / "base.tokenizer.json"))
    rows = [("the cats sat", "cats"), ("a mat", "mats"), ("the cat " * 20, "cats"), ("mats and mats", "mats")] * 5
    (tmp_path / "rows.csv").write_text("text,class\n" + "".join(f"{text},{name}\n" for text, name in rows))
    data = {
        "name": "classification",
        "path": str(tmp_path / "rows.csv"),
        "level": "bpe",
        "tokenizer": str(tmp_path / "base.tokenizer.json"),
        "max_vocabulary": VOCABULARY,
        "length": 12,
    }
    draft = read_base(tmp_path / "base.yaml")
    for path, value in {"task": data, "model.architecture": {"name": "encoder", "pooling": "first"}}.items():
        draft.set(path, value, draft.base, ())
    config = draft.build()
    task = config.task.build()
    shown, theirs = (
        task.training(0, 0),
        transformers.PreTrainedTokenizerFast(tokenizer_object=framing, pad_token="[PAD]"),
    )
    wanted = theirs([text for text, _ in rows], truncation=True, max_length=12, padding="max_length")
    as_read = {tuple(ids): tuple(mask) for ids, mask in zip(wanted["input_ids"], wanted["attention_mask"], strict=True)}
    assert len(as_read) == 4 and {sum(mask) for mask in as_read.values()} > {12}
    for ids, present in zip(shown["tokens"].tolist(), shown["padding"].int().tolist(), strict=True):
        assert as_read[tuple(ids)] == tuple(present)
    model = build_model(config.model, task.vocabulary, task.longest, 0, task.n_classes)
    whole = transformers.BertForMaskedLM.from_pretrained(saved("bert")).bert.embeddings.word_embeddings.weight
    assert torch.equal(model.embedding.table.weight, whole)
    assert model(shown["tokens"], padding=shown["padding"]).shape == (len(shown["tokens"]), 2)


def test_index_of_several_files_is_the_same_as_one_file(
    saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    sharded = tmp_path / "sharded"
    transformers.GPT2LMHeadModel.from_pretrained(saved("gpt2")).save_pretrained(sharded, max_shard_size="12KB")
    shutil.copy(saved("gpt2") / "tokenizer.json", sharded)
    assert len(list(sharded.glob("*.safetensors"))) > 1
    one = ablate("import", saved("gpt2"), "--output", tmp_path / "one.yaml", "--json")
    other = ablate("import", sharded, "--output", tmp_path / "other.yaml", "--json")
    assert one.json["fingerprint"] == other.json["fingerprint"]
    index = sharded / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    refused = ablate("import", sharded, "--output", tmp_path / "third.yaml")
    assert refused.code == 2 and "there is no file '../other.safetensors' in its folder" in refused.err


def test_tokens_equal_those_of_the_checkpoints_tokenizer(
    saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    ablate("import", saved("gpt2"), "--output", tmp_path / "base.yaml")
    _, task = model_of(tmp_path / "base.yaml")
    own = tokenizers.Tokenizer.from_file(str(saved("gpt2") / "tokenizer.json"))
    assert torch.cat(task.parts).tolist() == [
        id for text in task.texts for id in own.encode(text, add_special_tokens=False).ids
    ]
    assert task.decode(task.encode("the cats\n\n sat")) == "the cats\n\n sat"
    before = task.fingerprint()
    changed = json.loads((tmp_path / "base.tokenizer.json").read_text())
    changed["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "base.tokenizer.json").write_text(json.dumps(changed))
    _, other = model_of(tmp_path / "base.yaml")
    assert other.fingerprint() != before
    assert torch.equal(torch.cat(other.parts), torch.cat(task.parts)), "a text is not truncated"


def test_gaps_are_shown_by_the_mask_of_the_tokenizer(
    saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    ablate("import", saved("bert"), "--output", tmp_path / "base.yaml")
    _, task = model_of(tmp_path / "base.yaml")
    mask = tokenizers.Tokenizer.from_file(str(saved("bert") / "tokenizer.json")).token_to_id("[MASK]")
    examples = task.validation()
    asked = examples["targets"] >= 0
    assert (examples["tokens"][asked] == mask).float().mean() > 0.6
    assert not (examples["tokens"][~asked] == mask).any()


def test_missing_weights_are_initialized_and_named(
    saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate, caplog: pytest.LogCaptureFixture
) -> None:
    folder = saved("gpt2")
    caplog.clear()  # transformers may warn of the random model that it saves
    ablate("import", folder, "--output", tmp_path / "base.yaml")
    whole = model_of(tmp_path / "base.yaml")[0].state_dict()
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        other = model_of(tmp_path / "base.yaml", {"model.tie_embeddings": False, "model.max_length": 20})[
            0
        ].state_dict()
    initialized = ["stack.position.table.weight", "readout.table.weight"]
    assert caplog.messages[0].startswith("base.safetensors: 2 of ")
    assert caplog.messages[0].endswith("are not in it and were initialized:")
    assert [message.split()[0] for message in caplog.messages[1:]] == initialized
    assert all(torch.equal(other[name], whole[name]) for name in whole if name not in initialized)
    plain = {"model.tie_embeddings": False, "model.max_length": 20, "model.initialization": "gpt2"}
    as_initialized = model_of(tmp_path / "base.yaml", plain)[0].state_dict()
    assert all(torch.equal(other[name], as_initialized[name]) for name in initialized)


def test_wrong_or_missing_checkpoint_is_refused(saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate) -> None:
    base = tmp_path / "base.yaml"
    ablate("import", saved("gpt2"), "--output", base)
    with pytest.raises(InputError, match=r"no tensor of .* fits"):
        model_of(base, {"model.d_model": 8, "model.n_heads": 1})
    with pytest.raises(InputError, match=r"there is no file .*; did you mean 'base.safetensors'"):
        model_of(base, {"model.initialization.path": str(tmp_path / "bas.safetensors")})
    with pytest.raises(InputError, match="fingerprint is missing"):
        model_of(base, {"model.initialization.fingerprint": None})
    with pytest.raises(InputError, match="path is missing"):
        model_of(base, {"model.initialization": "pretrained"})
    with pytest.raises(InputError, match="not the file whose fingerprint"):
        model_of(base, {"model.initialization.fingerprint": "0" * 64})
    with pytest.raises(InputError, match="needs level: bpe, not level: char"):
        model_of(base, {"task.level": "char"})
    with pytest.raises(InputError, match="must be at least 310 for this tokenizer, not 305"):
        model_of(base, {"task.max_vocabulary": 305})


def test_checkpoint_with_few_tokens_is_a_baseline(tmp_path: Path, ablate: Ablate) -> None:
    words = {
        word: number for number, word in enumerate(["[UNK]", "the", "cats", "and", "dogs", "sat", "on", "a", "mat"])
    }
    few = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    few.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    checkpoint = tmp_path / "checkpoint"
    kind, sizes = SYSTEMS["gpt2"]
    family = getattr(transformers, kind)
    family(family.config_class(**sizes, vocab_size=len(words))).save_pretrained(checkpoint)
    few.save(str(checkpoint / "tokenizer.json"))
    assert ablate("import", checkpoint, "--output", tmp_path / "base.yaml").code == 0
    assert model_of(tmp_path / "base.yaml")[1].vocabulary == len(words)


@pytest.mark.parametrize("what", ERRORS)
def test_folder_that_cannot_be_imported_is_one_line(
    what: str, saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(saved("gpt2"), folder)
    spoil, message = ERRORS[what]
    spoil(folder)
    answer = ablate("import", folder, "--output", tmp_path / "base.yaml")
    assert answer.code == 2
    assert message in answer.err and answer.err.count("\n") == 1, answer.err
    assert not (tmp_path / "base.yaml").exists()


def test_existing_files_are_kept_and_unknown_models_refused(
    saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    (tmp_path / "base.safetensors").write_text("mine")
    answer = ablate("import", saved("gpt2"), "--output", tmp_path / "base.yaml")
    assert answer.code == 2 and "base.safetensors already exists" in answer.err
    assert (tmp_path / "base.safetensors").read_text() == "mine"
    answer = ablate("import", saved("gpt2"), "--output", tmp_path / "nowhere" / "base.yaml")
    assert answer.code == 5 and "base.safetensors: cannot be written" in answer.err and answer.err.count("\n") == 1
    answer = ablate("import", saved("gpt2"), "--output", tmp_path / "base")
    assert answer.code == 2 and "the name must end in .yaml" in answer.err
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": VOCABULARY, "pad_token_id": 1}
    transformers.MarianMTModel(transformers.MarianConfig(**sizes)).save_pretrained(tmp_path / "marian")
    tokenizer(SPECIAL).save(str(tmp_path / "marian" / "tokenizer.json"))
    answer = ablate("import", tmp_path / "marian", "--output", tmp_path / "marian.yaml")
    allowed = "bert, bloom, deberta, deberta-v2, gemma2, gpt2, gpt_neo, llama, mpt, olmo2, t5"
    assert answer.code == 2 and f"model_type 'marian' cannot be imported; allowed: {allowed}" in answer.err


@pytest.mark.slow
def test_grid_fine_tunes_imported_checkpoint_and_writes_with_it(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ablate: Ablate
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ablate("import", saved("gpt2"), "--output", "base.yaml").code == 0
    Path("text.txt").write_text(TEXT)
    settings = {"task.path": "text.txt", "task.length": 12, "training.max_steps": 6, "training.evaluate_every": 3}
    settings |= {"training.device": "cpu", "tracking.mode": "disabled"}
    dense = {"activation": "gelu_tanh", "expansion": 4, "bias": True}
    forms = [{"name": name, **dense, "label": name} for name in ("mlp", "glu")]
    factors = {"model.block": ["pre_norm", "post_norm"], "model.feedforward": forms}
    grid = {"name": "tuned", "base": "base.yaml", "set": settings, "factors": factors, "seeds": 1}
    Path("grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    answer = ablate("run", "grid.yaml", "--json")
    assert answer.code == 0 and answer.json["completed"] == 4, answer.err
    first, *_ = runs = [ids[0] for ids in ids_of(Path("runs"), "tuned").values()]
    logs = [Path(f"runs/store/{id[:2]}/{id}/log.txt").read_text() for id in runs]
    assert ["stack.blocks.0.sublayers.1.gate.weight" in log for log in logs].count(True) == 2
    assert "were initialized" not in logs[0]
    identity = json.loads(Path(f"runs/store/{first[:2]}/{first}/run.json").read_text())["identity"]
    start = identity["model"]["initialization"]
    assert len(start["fingerprint"]) == 64 and "path" not in start
    answer = ablate("generate", first[:8], "--prompt", "the cats", "--tokens", "5", "--greedy", "--json")
    assert answer.code == 0 and answer.json["texts"][0]["text"].startswith("the cats"), answer.err
    Path("base.safetensors").write_bytes(Path("base.safetensors").read_bytes() + b"x")
    answer = ablate("run", "grid.yaml", "--seeds", "2")
    assert answer.code == 2 and "not the file whose fingerprint" in answer.err and answer.err.count("\n") == 1


def pairs_of(base: Path) -> tuple[torch.nn.Module, Task, Path]:
    """The model and the task of an imported translator, on a table of sources and targets of different lengths."""
    table = base.parent / "pairs.tsv"
    table.write_text("".join(f"{'the ' * (n % 3)}cats {n}\t{n * 7} dogs{' on' * (n % 4)}\n" for n in range(24)))
    draft = read_base(base)
    for path, value in {"task.path": str(table), "task.length": 14, "task.batch_size": 4}.items():
        draft.set(path, value, draft.base, ())
    config = draft.build()
    task = config.task.build()
    return build_model(config.model, task.vocabulary, task.longest, config.seed).eval(), task, table


@pytest.mark.parametrize("system", TRANSLATORS)
def test_imported_translator_uses_special_tokens_of_the_checkpoint(
    system: str, saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    answer = ablate("import", saved(system), "--output", tmp_path / "base.yaml", "--json")
    assert answer.code == 0, answer.err
    model, task, table = pairs_of(tmp_path / "base.yaml")
    theirs = transformers.T5ForConditionalGeneration.from_pretrained(saved(system), attn_implementation="eager").eval()
    own = tokenizers.Tokenizer.from_file(str(saved(system) / "tokenizer.json"))
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    examples = task.validation()
    for source, seen in zip(examples["source"], examples["source_padding"], strict=True):
        assert [*own.encode(text_of(own, source[seen]), add_special_tokens=False).ids, 1] == source[seen].tolist()
        assert text_of(own, source[seen]) in [row[0] for row in rows]
    assert not examples["source_padding"].all() and not examples["padding"].all()
    with torch.no_grad():
        ours = model(**{name: tensor for name, tensor in examples.items() if name != "targets"})
        wanted = theirs(
            input_ids=examples["source"],
            attention_mask=examples["source_padding"].long(),
            labels=examples["targets"],  # from which they make what the decoder reads
        )
    asked = examples["targets"] >= 0
    torch.testing.assert_close(ours[asked], wanted.logits[asked], atol=1e-5, rtol=0)
    assert ours.std() > 0.05
    assert (task.begin, task.end) == (0, 1) and (examples["targets"] == 1).sum(1).eq(1).all()
    assert task.decode(task.encode("the cats")) == "the cats</s>"


def text_of(own: Any, ids: torch.Tensor) -> str:
    """The text of ids, less the end."""
    return str(own.decode(ids[:-1].tolist(), skip_special_tokens=False))


def test_imported_translator_writes_what_the_checkpoint_writes(
    saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    from ablation.training.evaluation import GreedyDecodingEval

    ablate("import", saved("t5"), "--output", tmp_path / "base.yaml")
    model, task, _ = pairs_of(tmp_path / "base.yaml")
    theirs = transformers.T5ForConditionalGeneration.from_pretrained(saved("t5")).eval()
    examples = task.validation()
    written = GreedyDecodingEval(task, model, {}).decode(examples)
    wanted = theirs.generate(
        examples["source"],
        attention_mask=examples["source_padding"].long(),
        max_new_tokens=task.length,
        do_sample=False,
        num_beams=1,
    )[:, 1:]
    ends = [row.index(1) if 1 in row else len(row) for row in wanted.tolist()]
    assert len(ends) > 1
    for ours, theirs_row, end in zip(written, wanted, ends, strict=True):
        assert ours[:end].tolist() == theirs_row[:end].tolist()


@pytest.mark.slow
def test_grid_fine_tunes_imported_translator_and_writes_with_it(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ablate: Ablate
) -> None:
    monkeypatch.chdir(tmp_path)
    ablate("import", saved("t5"), "--output", "base.yaml")
    pairs_of(tmp_path / "base.yaml")
    settings = {"task.path": "pairs.tsv", "task.length": 14, "training.max_steps": 4, "training.evaluate_every": 2}
    settings |= {"training.device": "cpu", "tracking.mode": "disabled", "task.batch_size": 4}
    grid = {"name": "tuned", "base": "base.yaml", "set": settings, "factors": {"model.dropout": [0.1, 0.0]}, "seeds": 1}
    Path("grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    answer = ablate("run", "grid.yaml", "--json")
    assert answer.code == 0 and answer.json["completed"] == 2, answer.err
    run = next(ids[0] for ids in ids_of(Path("runs"), "tuned").values())
    assert "were initialized" not in Path(f"runs/store/{run[:2]}/{run}/log.txt").read_text()
    answer = ablate("generate", run[:8], "--prompt", "the cats", "--tokens", "5", "--greedy", "--json")
    assert answer.code == 0 and answer.json["texts"][0]["tokens"] <= 5, answer.err


def test_translator_whose_frame_its_tokenizer_lacks_is_refused(
    saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(saved("t5"), folder)
    for changes, message in (
        ({"eos_token_id": 315}, "tokenizer.json has no token 315, the end of a target"),
        ({"eos_token_id": [1, 2]}, "eos_token_id [1, 2] is not a token id"),
        ({"decoder_start_token_id": None}, "decoder_start_token_id null is not a token id"),
        ({"d_kv": 8}, "decoder.blocks.0.sublayers.0.key.weight is (16, 16); expected (32, 16) from config.json"),
        ({"feed_forward_proj": "gelu"}, 'feed_forward_proj "gelu" cannot be imported, only "relu", "gated-gelu"'),
    ):
        said(folder, **{"eos_token_id": 1, "decoder_start_token_id": 0, "d_kv": 4, "feed_forward_proj": "relu"})
        said(folder, **changes)
        answer = ablate("import", folder, "--output", tmp_path / "base.yaml")
        assert answer.code == 2 and message in answer.err and answer.err.count("\n") == 1, answer.err
    said(folder, feed_forward_proj="relu")
    assert ablate("import", folder, "--output", tmp_path / "base.yaml").code == 0
    draft = read_base(tmp_path / "base.yaml")
    draft.set("task.end", "</t>", draft.base, ())
    with pytest.raises(InputError, match=r"task.end: the tokenizer has no token '</t>'.*did you mean '</s>'"):
        draft.build().task.build().validation()


def test_checkpoint_that_no_baseline_can_hold_leaves_nothing(
    saved: Callable[[str], Path], tmp_path: Path, ablate: Ablate
) -> None:
    folder = shutil.copytree(saved("gpt_neo"), tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "window_size": 10**400}))
    refused = ablate("import", folder, "--output", tmp_path / "base.yaml")
    assert refused.code == 2 and "too many digits" in one_line(refused)
    assert not list(tmp_path.glob("base.*"))
