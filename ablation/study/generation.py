"""A trained run, loaded from its directory with the plugins it was trained with, and the text that it writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..names import find_label
from ..store.files import damaged
from ..store.results import WEIGHTS, read_record
from ..store.runs import Store
from .manifest import read_manifest

if TYPE_CHECKING:
    from torch import nn

    from ..config.experiment import ExperimentConfig
    from ..model.generate import SamplingParams
    from ..tasks.base import Task


class TrainedRun:
    """A completed run with its weights.

    Args:
        store: where it is kept.
        name: its id, 4 or more of the first digits of it, or ``GRID:CELL`` for the first seed of a cell.
        plugins: the files that it was trained with, where they lie elsewhere now.

    Errors: InputError when there is no such run or its model cannot be used.
    """

    def __init__(self, store: Store, name: str, plugins: Sequence[Path] = ()):
        from ..model.build import build_uninitialized
        from ..model.weights import load_weights
        from ..store.code import code_version
        from ..store.verify import check_weights
        from ..tasks.unchanged import check_unchanged

        self.id = find_run(store, name)
        directory = store.directory(self.id)
        record = _read_record(store, self.id)
        load_recorded_plugins(record.get("plugins", ()), plugins)
        self.config = read_config(self.id, record["config"])
        self.stale_code: bool = record.get("code") != code_version(self.config)
        """Whether it was trained by other code than today's."""
        self.task: Task = self.config.task.build()
        try:
            check_unchanged(self.task, record["identity"]["fingerprint"], record.get("data", {}))
        except InputError as error:
            raise InputError(f"run {self.id[:12]}: its tokens would mean other things: {error}") from None
        task = self.task
        self.model: nn.Module = build_uninitialized(self.config.model, task.vocabulary, task.longest, task.n_classes)
        check_weights(directory, self.id)
        load_weights(self.model, directory / WEIGHTS)

    def write(
        self,
        prompt: str,
        n_new: int,
        sampling: "SamplingParams",
        *,
        beams: int | None = None,
        samples: int = 1,
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """Continue ``prompt`` or, with a model of sequence to sequence, make another text of it.

        Returns ``samples`` texts of at most ``n_new`` new tokens, with ``beams`` the most probable one alone. Each is
        ``{"text": ..., "tokens": how many are new, "ended": whether an end token came, or else the limit}``. Errors:
        InputError for a prompt that the model cannot take, and for a model that writes no text.
        """
        import torch

        from ..model.generate import beam_search, generate, max_positions
        from ..rng import generator

        task, model = self.task, self.model
        self._check_writes()
        source = self._encode(prompt)
        start, inputs = torch.tensor([source]), {}
        if task.kind == "seq2seq":
            limit = max_positions(model)
            if limit is not None and len(source) > limit:
                raise InputError(f"--prompt: it has {len(source)} tokens; the model was built for {limit}")
            n_new = n_new if limit is None else min(n_new, limit)
            with torch.no_grad():
                inputs["memory"] = model.eval().encode(start)  # type: ignore[operator]
            start = torch.tensor([[task.begin]])
        if beams:
            tokens = beam_search(model, start, n_new, beams, task.end, **inputs)
        else:
            repeated = {name: tensor.expand(samples, *tensor.shape[1:]) for name, tensor in inputs.items()}
            random = generator(seed, "generate")
            tokens = generate(model, start.expand(samples, -1), n_new, sampling, random, task.end, **repeated)
        texts = []
        for ids in tokens.tolist():
            new = ids[start.size(1) :]
            ended = task.end in new
            new = new[: new.index(task.end)] if ended else new
            text = task.decode(new if task.kind == "seq2seq" else source + new)
            texts.append({"text": text, "tokens": len(new), "ended": ended})
        return texts

    def _check_writes(self) -> None:
        if self.task.kind not in ("causal_lm", "seq2seq"):
            does = {"classification": "classifies", "masked_lm": "fills gaps"}.get(self.task.kind, self.task.kind)
            architecture = self.config.model.architecture.name
            raise InputError(f"run {self.id[:12]}: the {architecture} {does} and writes no text")

    def _encode(self, prompt: str) -> list[int]:
        try:
            ids: list[int] = self.task.encode(prompt)
        except InputError as error:
            raise InputError(f"--prompt: {error}") from None
        if not ids:
            raise InputError("--prompt: it has no tokens; at least one is needed")
        return ids


def find_run(store: Store, name: str) -> str:
    """The id of the run that ``name`` means: an id, the first digits of one, or GRID:CELL. Errors: InputError."""
    grid, colon, label = name.partition(":")
    if not colon:
        return store.find(name)
    manifest = read_manifest(store.grid_directory(grid))
    if manifest is None:
        raise InputError(f"RUN {name}: no grid {grid!r} was run in {store.root}")
    ids = {cell["label"]: str(cell["runs"][0]["id"]) for cell in manifest["cells"]}
    return ids[find_label(label, ids, f"RUN {grid}: ")]


def _read_record(store: Store, run_id: str) -> dict[str, Any]:
    """The run.json of a run that has weights."""
    directory, status = store.directory(run_id), store.status(run_id)
    if status != "completed":
        raise InputError(f"run {run_id[:12]}: {status}; only completed runs have weights")
    if not (directory / WEIGHTS).is_file():
        raise InputError(
            f"run {run_id[:12]}: its weights were not saved; train it again with training.save_weights: true, "
            f"by `ablate run GRID --retry stale_code` or after deleting {directory}"
        )
    record = read_record(directory / "run.json", run_id)
    if record is None:
        raise damaged(directory / "run.json", "it is gone")
    return record


def read_config(run_id: str, config: Mapping[str, Any]) -> "ExperimentConfig":
    """The configuration that run.json has. Errors: InputError where this version cannot read it."""
    from pydantic import ValidationError

    from ..config.layered import load_recorded

    try:
        return load_recorded(config)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(f"run {run_id[:12]}: this version cannot read its configuration ({reason})") from None


def load_recorded_plugins(recorded: Sequence[Mapping[str, str]], given: Sequence[Path]) -> None:
    """Load the files ``given``, which have to be those that the run was trained with.

    A file is never run because a run's record names it: runs may come from somebody else. Errors: InputError.
    """
    from ..plugins import load_plugins

    known = {plugin.sha256 for plugin in load_plugins(given)}
    lacking = [plugin["file"] for plugin in recorded if plugin["sha256"] not in known]
    if lacking and len(given) < len(recorded):
        add = " ".join(f"--plugin {plugin['file']}" for plugin in recorded)
        trusted = "that file" if len(recorded) == 1 else "these files"
        raise InputError(f"the run was trained with {', '.join(lacking)}: if you trust {trusted}, add {add}")
    if lacking:
        raise InputError(f"{lacking[0]}: none of the files named with --plugin is what the run was trained with")
