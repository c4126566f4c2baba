"""``ablate import``: a baseline that starts from a checkpoint of Hugging Face's libraries."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .arguments import AsJson
from .init import conf

if TYPE_CHECKING:
    from ..checkpoints.folder import ImportedCheckpoint

TASKS = {"decoder": "text", "encoder": "masked_text", "encoder_decoder": "sequence_to_sequence"}
"""What a checkpoint of each architecture goes on learning."""
RATE = 5e-5
"""The learning rate to go on with (Devlin et al. 2018): that of a start from nothing would undo what was learned."""
WINDOW, BATCH = 128, 8


def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="With config.json, safetensors and tokenizer.json.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", metavar="FILE.yaml", help="The baseline to write; weights and tokenizer go beside it."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Write a baseline whose runs start from a checkpoint's weights; nothing is fetched from anywhere."""
    if output.suffix not in (".yaml", ".yml"):
        raise InputError(f"--output {output}: a name that ends in .yaml is wanted")
    weights, tokenizer = output.with_suffix(".safetensors"), output.with_suffix(".tokenizer.json")
    for file in (output, weights, tokenizer):
        if file.exists():
            raise InputError(f"--output {output}: {file.name} is there already; name another file")
    if not (checkpoint / "tokenizer.json").is_file() and checkpoint.is_dir() and (checkpoint / "config.json").is_file():
        raise InputError(f"{checkpoint}: there is no tokenizer.json, the file of Hugging Face's fast tokenizers")

    from ..checkpoints.folder import read_folder
    from ..tasks.io.tokens import read_tokenizer

    imported = read_folder(checkpoint)
    architecture = imported.config.architecture.name
    if architecture not in TASKS:
        raise InputError(f"{checkpoint}: {imported.system} is an {architecture}, which is not imported as a baseline")
    pieces = read_tokenizer(checkpoint / "tokenizer.json", imported.vocabulary)
    frame: dict[str, str] = {}
    for what, id in imported.frame.items():
        token = pieces.id_to_token(id)
        if token is None:
            raise InputError(f"{checkpoint}: tokenizer.json has no token {id}, the {what} of a target")
        frame[what] = token
    try:
        fingerprint = _write_weights(imported, weights)
        shutil.copyfile(checkpoint / "tokenizer.json", tokenizer)
        output.write_text(_baseline(imported, frame, weights, fingerprint, tokenizer), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--output {output}: {error.strerror}") from None
    _check(output)
    summary = {
        "checkpoint": imported.system,
        "output": str(output),
        "weights": str(weights),
        "tokenizer": str(tokenizer),
        "fingerprint": fingerprint,
        "tensors": len(imported.weights),
        "parameters": sum(tensor.numel() for tensor in imported.weights.values()),
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{output}: {imported.system}, {summary['parameters']:,} parameters")
        typer.echo(f"Now name it as the base of a grid: `base: {output.name}`")


def _write_weights(imported: "ImportedCheckpoint", file: Path) -> str:
    """Returns the sha256 of what was written."""
    from ..model.weights import save_tensors
    from ..store.files import replacing

    with replacing(file) as staged:
        save_tensors(imported.weights, staged)
        with staged.open("rb") as stream:
            fingerprint = hashlib.file_digest(stream, "sha256").hexdigest()
    return fingerprint


def _baseline(
    imported: "ImportedCheckpoint", frame: dict[str, str], weights: Path, fingerprint: str, tokenizer: Path
) -> str:
    """The package's own baseline with another model, its text cut by the checkpoint's tokenizer."""
    from ..yaml import read

    base = read(conf() / "base.yaml").value
    start = {"name": "pretrained", "path": weights.name, "fingerprint": fingerprint, "otherwise": "gpt2"}
    task = {
        "name": TASKS[imported.config.architecture.name],
        "path": None,
        "level": "bpe",
        "tokenizer": tokenizer.name,
        "max_vocabulary": imported.vocabulary,
        "length": min(WINDOW, imported.config.max_length or WINDOW),
        "batch_size": BATCH,
        **frame,
    }
    sections = {
        **base,
        "model": {**imported.model, "initialization": start},
        "task": task,
        "optimizer": {**base["optimizer"], "lr": RATE},
    }
    lines = [f"# {imported.system}, as `ablate import` found it; runs start from its weights.", ""]
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


def _check(output: Path) -> None:
    from ..config.layered import read_base

    read_base(output).build()
