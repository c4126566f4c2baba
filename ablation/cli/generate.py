"""``ablate generate``: text from a trained run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, nearest
from .arguments import AsJson, Plugins, Runs

if TYPE_CHECKING:
    from torch import nn

    from ..config.experiment import ExperimentConfig
    from ..model.generate import SamplingParams
    from ..store.runs import Store
    from ..tasks.base import Task

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="The run's id, 4 or more of its first digits, or GRID:LABEL for the first seed of a cell.",
        show_default=False,
    ),
]


def generate(
    run: RunArgument,
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="TEXT", help="What to go on from, or what to make another text of.")
    ],
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="How many tokens to write at most.")] = 200,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0.0, help="Below 1 sharper, above 1 flatter; default: 1.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="Draw from the so many best tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", min=0.0, max=1.0, help="Draw from the best that hold this share.")
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the best token, instead of drawing.")] = False,
    beams: Annotated[
        int | None, typer.Option("--beams", min=1, help="The most probable text that so many beams find, instead.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="How many texts to draw.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws: the same seed, the same text.")] = 0,
    plugins: Plugins = [],  # noqa: B006  typer hands in a list of its own
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Write text with a trained run: go on from a prompt, or make one text of another.

    Where positions are learned, a text longer than the model was built for slides through them.
    """
    drawing = {"--temperature": temperature, "--top-k": top_k, "--top-p": top_p}
    _refuse_mixed(greedy, beams, [name for name, value in drawing.items() if value is not None], samples)
    from ..store.runs import Store

    store = Store(runs)
    run_id = _find(store, run)
    config, task = _read_run(store, run_id, plugins)
    source = _encode(task, prompt)

    from ..model.generate import SamplingParams

    hottest = 1.0 if temperature is None else temperature
    choice = SamplingParams(0.0 if greedy else hottest, top_k, top_p)
    model = _load_model(store, run_id, config, task)
    texts = _write(model, task, source, tokens, choice, beams, samples, seed)
    if as_json:
        typer.echo(json.dumps({"run": run_id, "prompt": prompt, "seed": seed, "texts": texts}))
        return
    for index, text in enumerate(texts):
        if index:
            typer.echo("---")
        # What a model writes may hold any character; none of them is to command the terminal.
        typer.echo("".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text["text"]))


def _refuse_mixed(greedy: bool, beams: int | None, drawing: Sequence[str], samples: int) -> None:
    ways = [*(["--greedy"] if greedy else []), *(["--beams"] if beams else []), *drawing]
    if samples > 1:
        ways.append("--samples")
    if len(ways) > 1 and (greedy or beams):
        raise InputError(f"{ways[1]}: not together with {ways[0]}, which draws nothing")


def _find(store: "Store", run: str) -> str:
    """The id that RUN means. Errors: InputError."""
    from ..store.files import read_json

    grid, colon, label = run.partition(":")
    if not colon:
        return store.find(run)
    manifest = read_json(store.grid_directory(grid) / "manifest.json")
    if manifest is None:
        raise InputError(f"RUN {run}: no grid {grid!r} was run in {store.root}")
    ids = {cell["label"]: str(cell["runs"][0]["id"]) for cell in manifest["cells"]}
    if label not in ids:
        raise InputError(
            f"RUN {run}: grid {grid!r} has no cell {label!r}; allowed: {', '.join(ids)}{nearest(label, ids)}"
        )
    return ids[label]


def _read_run(store: "Store", run_id: str, plugins: Sequence[Path]) -> "tuple[ExperimentConfig, Task]":
    """What was trained, and on what. Errors: InputError when no text can be had of it."""
    from pydantic import ValidationError

    from ..config.layered import load
    from ..store.code import code_version
    from ..store.files import damaged
    from ..store.results import WEIGHTS, read_record

    directory, short = store.directory(run_id), run_id[:12]
    state = store.status(run_id)
    if state != "completed":
        raise InputError(f"run {short}: {state}; only completed runs keep weights")
    if not (directory / WEIGHTS).is_file():
        raise InputError(
            f"run {short}: its weights were not kept; train it again with training.save_weights: true, "
            f"by `ablate run GRID --retry drifted` or after deleting {directory}"
        )
    record = read_record(directory / "run.json", run_id)
    if record is None:
        raise damaged(directory / "run.json", "it is gone")
    _load_plugins(record["plugins"], plugins)
    try:
        config = load(record["config"])
    except ValidationError as error:
        raise InputError(
            f"run {short}: this version cannot read its configuration ({error.errors()[0]['msg']})"
        ) from None
    task: Task = config.task.build()
    if task.kind not in ("causal_lm", "seq2seq"):
        what = {"classes": "tells classes", "masked": "fills gaps"}.get(task.kind, task.kind)
        raise InputError(f"run {short}: the {config.model.architecture.name} {what} and writes no text")
    if record.get("code") != code_version(config):
        typer.echo(f"run {short} was trained by other code than writes this", err=True)
    if task.fingerprint() != record["identity"]["fingerprint"]:
        raise InputError(f"run {short}: its data have changed since, so that tokens would mean something else")
    return config, task


def _load_plugins(recorded: Sequence[dict[str, str]], given: Sequence[Path]) -> None:
    """The files that the run was trained with, or ``given``, where they lie elsewhere now."""
    from ..plugins import load_plugins

    loaded = load_plugins(given or [Path(plugin["file"]) for plugin in recorded])
    known = {plugin.sha256 for plugin in loaded}
    for plugin in recorded:
        if plugin["sha256"] not in known:
            raise InputError(f"{plugin['file']}: not what the run was trained with; name that file with --plugin")


def _encode(task: "Task", prompt: str) -> list[int]:
    try:
        ids = task.encode(prompt)
    except InputError as error:
        raise InputError(f"--prompt: {error}") from None
    if not ids:
        raise InputError("--prompt: it has no tokens; at least one is wanted")
    return ids


def _load_model(store: "Store", run_id: str, config: "ExperimentConfig", task: "Task") -> "nn.Module":
    from ..model.build import build_uninitialized
    from ..model.weights import load_weights
    from ..store.results import WEIGHTS

    model = build_uninitialized(config.model, task.vocabulary, task.longest, task.n_classes)
    load_weights(model, store.directory(run_id) / WEIGHTS)
    return model


def _write(
    model: "nn.Module",
    task: "Task",
    source: list[int],
    n_new: int,
    choice: "SamplingParams",
    beams: int | None,
    samples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Texts, and of how many new tokens each is."""
    import torch

    from ..model.generate import beam_search, max_positions
    from ..model.generate import generate as go_on
    from ..rng import generator

    begun, inputs = torch.tensor([source]), {}
    if task.kind == "seq2seq":
        reach = max_positions(model)
        if reach is not None and len(source) > reach:
            raise InputError(f"--prompt: it has {len(source)} tokens; the model was built for {reach}")
        n_new = n_new if reach is None else min(n_new, reach)
        with torch.no_grad():
            inputs["memory"] = model.eval().encode(begun)  # type: ignore[operator]
        begun = torch.tensor([[task.begin]])
    if beams:
        found = beam_search(model, begun, n_new, beams, task.end, **inputs)
    else:
        several = {name: tensor.expand(samples, *tensor.shape[1:]) for name, tensor in inputs.items()}
        random = generator(seed, "generate")
        found = go_on(model, begun.expand(samples, -1), n_new, choice, random, task.end, **several)
    written = []
    for ids in found.tolist():
        new = ids[begun.size(1) :]
        new = new[: new.index(task.end)] if task.end in new else new
        text = task.decode(new if task.kind == "seq2seq" else source + new)
        written.append({"text": text, "tokens": len(new)})
    return written
