"""A checkpoint's folder, as Hugging Face's libraries write it: config.json and safetensors. Nothing in it is run."""

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


@dataclass(frozen=True)
class ImportedCheckpoint:
    """A checkpoint in our terms."""

    system: str
    model: dict[str, Any]
    """The values of our model section."""
    config: ModelConfig
    weights: Weights
    vocabulary: int
    frame: dict[str, int]
    """The ids that ``begin`` and ``end`` a target, where one text is made from another."""


def read_folder(folder: Path) -> ImportedCheckpoint:
    """The checkpoint in ``folder``. Errors: InputError, one line, when it is not there, damaged or not understood."""
    theirs = _read_json(folder / "config.json")
    system = theirs.get("model_type")
    known = {name: part for name, part in REGISTRY["checkpoint"].items() if part.component.assumes}
    if system not in known:
        hint = nearest(str(system), known)
        raise InputError(
            f"{folder}: model_type {system!r} cannot be imported; allowed: {', '.join(sorted(known))}{hint}"
        )
    checkpoint: Checkpoint = known[system](name=system).build()
    theirs = {**checkpoint.defaults, **theirs}
    for key, allowed in checkpoint.assumes.items():
        if theirs.setdefault(key, allowed[0]) not in allowed:
            readable = ", ".join(map(json.dumps, allowed))
            raise InputError(
                f"{folder}/config.json: {key} {json.dumps(theirs[key])} is not understood, only {readable}"
            )
    vocabulary = theirs.get("vocab_size")
    if not isinstance(vocabulary, int):
        raise InputError(f"{folder}/config.json: vocab_size is missing")
    try:
        model = checkpoint.model(theirs)
        config = ModelConfig.model_validate_json(json.dumps(expand_shorthand(ModelConfig, model)))
    except KeyError as error:
        raise InputError(f"{folder}/config.json: {error.args[0]} is missing") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{folder}/config.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise InputError(f"{folder}/config.json: {error}") from None
    tensors = _read_tensors(folder)
    try:
        weights = checkpoint.weights(theirs, tensors)
    except KeyError as error:
        raise InputError(f"{folder}: the weights of a {system} lack the tensor {error.args[0]!r}") from None
    except ValueError as error:
        raise InputError(f"{folder}: {error}") from None
    weights = {name: tensor.float().clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}
    _compare(folder, config, weights, vocabulary)
    frame = read_frame(folder, theirs) if config.architecture.name == "encoder_decoder" else {}
    return ImportedCheckpoint(system, model, config, weights, vocabulary, frame)


def read_frame(folder: Path, theirs: dict[str, Any]) -> dict[str, int]:
    """The ids of what stands before and behind a target."""
    found = {}
    for what, key in (("begin", "decoder_start_token_id"), ("end", "eos_token_id")):
        if not isinstance(theirs.get(key), int):
            raise InputError(f"{folder}/config.json: {key} {json.dumps(theirs.get(key))} is not the id of a token")
        found[what] = theirs[key]
    return found


def _compare(folder: Path, config: ModelConfig, weights: Weights, vocabulary: int) -> None:
    """Whether these are all the weights of that model, in its shapes."""
    model = build_uninitialized(config, vocabulary, config.max_length or 2, device="meta")
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            what = f"is {given.get(name, 'missing')} where config.json asks for {wanted.get(name, 'none')}"
            raise InputError(f"{folder}: {name} {what}")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; a Hugging Face folder with a config.json is wanted") from None
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{file}: not a mapping")
    return value


def _read_tensors(folder: Path) -> Weights:
    """All tensors, from one file or from those that an index names."""
    names = [SINGLE]
    if (folder / INDEX).is_file():
        placed = _read_json(folder / INDEX).get("weight_map")
        if not isinstance(placed, dict) or not placed:
            raise InputError(f"{folder / INDEX}: weight_map is missing")
        names = sorted(set(map(str, placed.values())))
    elif not (folder / SINGLE).is_file():
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
        if pickled:
            raise InputError(f"{folder}: {pickled[0]} is a pickle, which may run code; only safetensors are read")
        raise InputError(f"{folder}: there is no {SINGLE} and no {INDEX}")
    tensors: Weights = {}
    for name in names:
        file = folder / name
        if Path(name).name != name or not file.is_file():
            raise InputError(f"{folder / INDEX}: there is no file {name!r} beside it")
        try:
            with safe_open(file, "pt") as opened:
                tensors |= {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file}: not a safetensors file ({error})") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{folder}: {name} holds numbers that are not finite")
    return tensors
