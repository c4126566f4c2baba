"""Reading the folder of a Hugging Face checkpoint: config.json and safetensors. No code in it is run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from ..errors import InputError, nearest
from ..model.build import build_uninitialized
from ..model.config import ModelConfig
from ..registry import REGISTRY, expand_shorthand
from .base import Checkpoint, Weights

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
LARGEST_JSON = 1 << 26
"""Bytes of a JSON file that are read; the index of the largest checkpoint has fewer."""
MOST_LAYERS = 10_000
"""More layers are no model but a mistake, and would be listed before it is noticed."""


@dataclass(frozen=True)
class ImportedCheckpoint:
    """A checkpoint, translated into the configuration and parameter names of this package."""

    system: str
    """The name of its architecture there, such as ``gpt2``."""
    model: dict[str, Any]
    """The values of the ``model`` section."""
    config: ModelConfig
    weights: Weights
    vocabulary: int
    special_tokens: dict[str, int]
    """The ids of ``begin`` and ``end`` of a target in an encoder-decoder; else empty."""


def read_folder(folder: Path) -> ImportedCheckpoint:
    """The checkpoint in ``folder``. Errors: InputError, one line, if it is missing, damaged or not supported."""
    hf_config = _read_json(folder / "config.json")
    system = hf_config.get("model_type")
    supported = {name: member for name, member in REGISTRY["checkpoint"].items() if member.component.assumes}
    if not isinstance(system, str) or system not in supported:
        hint = nearest(str(system), supported)
        raise InputError(
            f"{folder}: model_type {system!r} cannot be imported; allowed: {', '.join(sorted(supported))}{hint}"
        )
    checkpoint: Checkpoint = supported[system](name=system).build()
    hf_config = {**checkpoint.defaults, **hf_config}
    for key, allowed in checkpoint.assumes.items():
        if hf_config.setdefault(key, allowed[0]) not in allowed:
            values = ", ".join(map(json.dumps, allowed))
            raise InputError(
                f"{folder}/config.json: {key} {json.dumps(hf_config[key])} cannot be imported, only {values}"
            )
    vocabulary = hf_config.get("vocab_size")
    if type(vocabulary) is not int or vocabulary < 1:
        raise InputError(f"{folder}/config.json: vocab_size is missing")
    for key, value in hf_config.items():
        if "layer" in key and isinstance(value, int) and value > MOST_LAYERS:
            raise InputError(f"{folder}/config.json: {key}: at most {MOST_LAYERS:,} layers, not {value:,}")
    try:
        model = checkpoint.model(hf_config)
        config = ModelConfig.model_validate_json(json.dumps(expand_shorthand(ModelConfig, model)))
    except KeyError as error:
        raise InputError(f"{folder}/config.json: {error.args[0]} is missing") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{folder}/config.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise InputError(f"{folder}/config.json: {error}") from None
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:  # a value of another kind than expected
        raise InputError(f"{folder}/config.json: is not that of a {system}: {error}") from None
    tensors = _read_tensors(folder)
    try:
        weights = checkpoint.weights(hf_config, tensors)
    except KeyError as error:
        raise InputError(f"{folder}: the weights of a {system} lack the tensor {error.args[0]!r}") from None
    except (ValueError, RuntimeError, TypeError, AttributeError, IndexError, ArithmeticError) as error:
        first_line = str(error).partition("\n")[0]  # of torch, about shapes
        raise InputError(f"{folder}: the weights are not those of config.json: {first_line}") from None
    weights = {name: tensor.float().clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}
    _compare(folder, config, weights, vocabulary)
    special_tokens = _special_tokens(folder, hf_config) if config.architecture.name == "encoder_decoder" else {}
    return ImportedCheckpoint(system, model, config, weights, vocabulary, special_tokens)


def _special_tokens(folder: Path, hf_config: dict[str, Any]) -> dict[str, int]:
    """The ids of the tokens before and after a target."""
    ids = {}
    for name, key in (("begin", "decoder_start_token_id"), ("end", "eos_token_id")):
        if not isinstance(hf_config.get(key), int):
            raise InputError(f"{folder}/config.json: {key} {json.dumps(hf_config.get(key))} is not a token id")
        ids[name] = hf_config[key]
    return ids


def _compare(folder: Path, config: ModelConfig, weights: Weights, vocabulary: int) -> None:
    """Errors: InputError unless these are all the weights of the model, in the right shapes."""
    try:
        model = build_uninitialized(config, vocabulary, config.max_length or 2, device="meta")
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(f"{folder}/config.json: no model can be built: {first_line}") from None
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    actual = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            what = f"is {actual.get(name, 'missing')}; expected {expected.get(name, 'none')} from config.json"
            raise InputError(f"{folder}: {name} {what}")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        if file.exists() and not file.is_file():  # reading a pipe or device might never end
            raise InputError(f"{file}: is not a file; expected a Hugging Face folder with a config.json")
        with file.open("rb") as stream:
            content = stream.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise InputError(f"{file}: is larger than {LARGEST_JSON:,} bytes")
        value = json.loads(content.decode())
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; expected a Hugging Face folder with a config.json") from None
    except RecursionError:
        raise InputError(f"{file}: nested too deeply") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 at byte {error.start}") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{file}: not a mapping")
    return value


def _read_tensors(folder: Path) -> Weights:
    """All tensors, from one file or from the files in an index."""
    names = [SINGLE]
    if (folder / INDEX).is_file():
        weight_map = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise InputError(f"{folder / INDEX}: weight_map is missing")
        names = sorted(set(map(str, weight_map.values())))
    elif not (folder / SINGLE).is_file():
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
        if pickled:
            raise InputError(f"{folder}: {pickled[0]} is a pickle, which may run code; only safetensors are read")
        raise InputError(f"{folder}: there is no {SINGLE} and no {INDEX}")
    tensors: Weights = {}
    for name in names:
        file = folder / name
        try:
            is_there = Path(name).name == name and file.is_file()
        except OSError:  # too long for a name
            is_there = False
        if not is_there:
            raise InputError(f"{folder / INDEX}: there is no file {format(name, '.80')!r} in its folder")
        try:
            with safe_open(file, "pt") as opened:
                tensors |= {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file}: not a safetensors file ({error})") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{folder}: {name} has numbers that are not finite")
    return tensors
