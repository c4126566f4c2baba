"""A baseline that starts from a checkpoint: the YAML file, with the weights and the tokenizer beside it."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, StorageError

if TYPE_CHECKING:
    from .folder import ImportedCheckpoint

TASKS = {"decoder": "text", "encoder": "masked_text", "encoder_decoder": "sequence_to_sequence"}
"""The task that a checkpoint of each architecture is trained further on."""
LEARNING_RATE = 5e-5
"""For training further (Devlin et al. 2018): that of a start from nothing would undo what was learned."""
LENGTH, BATCH_SIZE = 128, 8


@dataclass(frozen=True)
class ImportedBaseline:
    """The files that were written."""

    checkpoint: str
    """The name of the checkpoint's system."""
    output: Path
    weights: Path
    tokenizer: Path
    fingerprint: str
    """The sha256 of the weights."""
    tensors: int
    parameters: int


def import_baseline(
    checkpoint: Path, output: Path, base: Mapping[str, Any], check: Callable[[Path], object]
) -> ImportedBaseline:
    """Write ``output``, the baseline ``base`` with the model, weights and tokenizer of the folder ``checkpoint``.

    ``check`` raises an error where the written file is no baseline. Errors: its own, and InputError where the folder is
    not one that can be imported, or where a file already exists; nothing is left then.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise InputError(f"--output {output}: the name must end in .yaml")
    weights, tokenizer = output.with_suffix(".safetensors"), output.with_suffix(".tokenizer.json")
    for file in (output, weights, tokenizer):
        if file.exists():
            raise InputError(f"--output {output}: {file.name} already exists; name another file")
    if not (checkpoint / "tokenizer.json").is_file() and checkpoint.is_dir() and (checkpoint / "config.json").is_file():
        raise InputError(f"{checkpoint}: there is no tokenizer.json, the file of Hugging Face's fast tokenizers")

    from .folder import read_folder

    imported = read_folder(checkpoint)
    architecture = imported.config.architecture.name
    if architecture not in TASKS:
        raise InputError(f"{checkpoint}: {imported.system} is an {architecture}, which is not imported as a baseline")
    special_tokens = _special_tokens(imported, checkpoint)
    try:
        fingerprint = _write_weights(imported, weights)
        shutil.copyfile(checkpoint / "tokenizer.json", tokenizer)
        output.write_text(_yaml(imported, base, special_tokens, weights, fingerprint, tokenizer), encoding="utf-8")
        check(output)
    except BaseException as error:
        for file in (output, weights, tokenizer):
            file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"--output {output}: {error.strerror}") from None
        raise
    parameters = sum(tensor.numel() for tensor in imported.weights.values())
    return ImportedBaseline(imported.system, output, weights, tokenizer, fingerprint, len(imported.weights), parameters)


def _special_tokens(imported: "ImportedCheckpoint", checkpoint: Path) -> dict[str, str]:
    """The tokens before and after a target, by the names of the task's hyper-parameters."""
    from ..tasks.io.tokens import read_tokenizer, tokenizer_file

    file = tokenizer_file(checkpoint / "tokenizer.json")
    assert file is not None
    tokenizer = read_tokenizer(file, imported.vocabulary)
    tokens: dict[str, str] = {}
    for name, id in imported.special_tokens.items():
        token = tokenizer.id_to_token(id) if 0 <= id < imported.vocabulary else None
        if token is None:
            raise InputError(f"{checkpoint}: tokenizer.json has no token {id}, the {name} of a target")
        tokens[name] = token
    return tokens


def _write_weights(imported: "ImportedCheckpoint", file: Path) -> str:
    """Returns the sha256 of the file, which is written whole or not at all. Errors: StorageError."""
    from ..model.weights import save_tensors

    staged = file.with_name(f".{file.name}.tmp")
    try:
        save_tensors(imported.weights, staged)
        with staged.open("rb") as stream:
            fingerprint = hashlib.file_digest(stream, "sha256").hexdigest()
        staged.replace(file)
    except OSError as error:
        raise StorageError(f"{file}: cannot be written ({error.strerror or error})") from None
    finally:
        staged.unlink(missing_ok=True)
    return fingerprint


def _yaml(
    imported: "ImportedCheckpoint",
    base: Mapping[str, Any],
    special_tokens: Mapping[str, str],
    weights: Path,
    fingerprint: str,
    tokenizer: Path,
) -> str:
    """The text of the file: ``base`` with another model and its task on the checkpoint's tokens."""
    start = {"name": "pretrained", "path": weights.name, "fingerprint": fingerprint, "otherwise": "gpt2"}
    task = {
        "name": TASKS[imported.config.architecture.name],
        "path": None,
        "level": "bpe",
        "tokenizer": tokenizer.name,
        "max_vocabulary": imported.vocabulary,
        "length": min(LENGTH, imported.config.max_length or LENGTH),
        "batch_size": BATCH_SIZE,
        **special_tokens,
    }
    sections = {
        **base,
        "model": {**imported.model, "initialization": start},
        "task": task,
        "optimizer": {**base["optimizer"], "lr": LEARNING_RATE},
    }
    lines = [f"# {imported.system}, written by `ablate import`; runs start from its weights.", ""]
    for name, section in sections.items():
        if isinstance(section, dict):
            lines += [f"{name}:", *(f"  {key}: {_flow(value)}" for key, value in section.items()), ""]
        else:
            lines.append(f"{name}: {_flow(section)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    plain = (
        isinstance(value, str) and re.fullmatch("[a-z_]+[a-z0-9_]*", value) and value not in ("null", "true", "false")
    )
    return value if plain else json.dumps(value)
