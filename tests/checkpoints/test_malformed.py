"""A folder that is no checkpoint, or a hostile one, is refused in one line, at once and in little memory."""

import json
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.small_grids import Ablate

from ablation.checkpoints.folder import read_folder
from ablation.errors import InputError

LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 24,
    "vocab_size": 320,
}
GPT_NEO = {
    "model_type": "gpt_neo",
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "attention_types": [[["global", "local"], 1]],
    "vocab_size": 320,
}
MPT = {"model_type": "mpt", "d_model": 16, "n_layers": 2, "n_heads": 2, "expansion_ratio": 4, "vocab_size": 320}
GEMMA = {**LLAMA, "model_type": "gemma2", "sliding_window": 5, "query_pre_attn_scalar": 4}
GEMMA |= {"final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(config)``: a folder with that config.json, and weights that fit nothing."""

    def make(config: Any) -> Path:
        text = config if isinstance(config, str) else json.dumps(config)
        (tmp_path / "config.json").write_text(text)
        save_file({"x": torch.zeros(1)}, str(tmp_path / "model.safetensors"))
        return tmp_path

    return make


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_folder(folder)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message.replace(f"{folder}/", "").removeprefix(f"{folder}: ")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("[" * 100_000, "config.json: nested too deeply"),
        ('{"a":' * 100_000, "config.json: nested too deeply"),
        ("[1]", "config.json: not a mapping"),
        ("9" * 5000, "config.json: not JSON"),
        ({**LLAMA, "model_type": ["llama"]}, "model_type ['llama'] cannot be imported"),
        ({**LLAMA, "num_hidden_layers": 10**12}, "config.json: num_hidden_layers: at most 10,000 layers"),
        ({**GEMMA, "num_hidden_layers": 10**9}, "config.json: num_hidden_layers: at most 10,000 layers"),
        ({**GPT_NEO, "num_layers": 10**12}, "config.json: num_layers: at most 10,000 layers"),
        ({**GPT_NEO, "attention_types": [[["global"], 10**12]]}, "config.json: attention_types are not of 2 layers"),
        ({**GPT_NEO, "attention_types": "global"}, "config.json: "),
        ({**LLAMA, "rope_scaling": "x"}, "config.json: rope_scaling must be a mapping"),
        ({**LLAMA, "rope_scaling": {"rope_type": "yarn", "factor": 1e300}}, "config.json: RoPE scaling 'yarn'"),
        ({**LLAMA, "rope_scaling": {"type": "linear", "factor": 2.0}}, "config.json: RoPE scaling 'linear'"),
        ({**LLAMA, "rope_theta": 10**400}, "config.json: is not that of a llama"),
        ({**LLAMA, "rope_theta": math.nan}, "config.json: "),
        ({**LLAMA, "rms_norm_eps": -1.0}, "config.json: norm.rms_norm.eps"),
        ({**LLAMA, "hidden_size": "16"}, "config.json: "),
        ({**LLAMA, "hidden_size": 0}, "config.json: is not that of a llama: division by zero"),
        ({**LLAMA, "hidden_size": -16}, "config.json: d_model"),
        ({**LLAMA, "num_attention_heads": 0}, "config.json: n_heads"),
        ({**LLAMA, "intermediate_size": 10**400}, "config.json: is not that of a llama"),
        ({**LLAMA, "vocab_size": "320"}, "config.json: vocab_size is missing"),
        ({**MPT, "attn_config": "x"}, "config.json: attn_config must be a mapping, not 'x'"),
        ({**MPT, "attn_config": {"softmax_scale": [1]}}, "config.json: attn_config.softmax_scale"),
        ({"model_type": "llama", "vocab_size": 1}, "config.json: hidden_size is missing"),
    ],
)
def test_malformed_config_is_refused_in_one_line(write: Write, config: Any, expected: str) -> None:
    assert refusal(write(config)).startswith(expected)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"{",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        *(
            struct.pack("<Q", len(header)) + header + b"\0" * 8
            for header in (
                json.dumps({"x": about}).encode()
                for about in (
                    {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]},
                    {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**50]},
                    {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
                    {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]},
                    {"dtype": "X", "shape": [2], "data_offsets": [0, 8]},
                )
            )
        ),
    ],
)
def test_damaged_safetensors_are_refused_in_one_line(write: Write, content: bytes) -> None:
    folder = write(LLAMA)
    (folder / "model.safetensors").write_bytes(content)
    assert refusal(folder).startswith("model.safetensors: not a safetensors file")


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ({"weight_map": {"x": "../outside.safetensors"}}, "there is no file '../outside.safetensors' in its folder"),
        ({"weight_map": {"x": "/etc/passwd"}}, "there is no file '/etc/passwd' in its folder"),
        ({"weight_map": {"x": ".."}}, "there is no file '..' in its folder"),
        ({"weight_map": {"x": "a\0b"}}, "there is no file 'a\\x00b' in its folder"),
        ({"weight_map": {"x": ["a"]}}, "there is no file \"['a']\" in its folder"),
        ({"weight_map": ["a"]}, "weight_map is missing"),
        ({}, "weight_map is missing"),
    ],
)
def test_index_reaches_no_file_outside_its_folder(write: Write, index: Any, expected: str) -> None:
    folder = write(LLAMA)
    save_file({"x": torch.zeros(1)}, str(folder.parent / "outside.safetensors"))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert refusal(folder) == f"model.safetensors.index.json: {expected}"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickle_is_never_read(write: Write, name: str) -> None:
    folder = write(LLAMA)
    (folder / "model.safetensors").rename(folder / name)
    assert refusal(folder) == f"{name} is a pickle, which may run code; only safetensors are read"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with a name")
def test_pipe_in_place_of_the_config_is_not_waited_for(write: Write) -> None:
    folder = write(LLAMA)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert refusal(folder).startswith("config.json: is not a file")


def test_import_says_it_in_one_line(write: Write, ablate: Ablate) -> None:
    folder = write({**MPT, "attn_config": "x"})
    (folder / "tokenizer.json").write_text("[" * 100_000)
    answer = ablate("import", folder, "--output", folder / "base.yaml")
    assert (answer.code, answer.err.count("\n"), answer.out) == (2, 1, "")
    assert not (folder / "base.yaml").exists()
