"""``ablate generate``: text from a trained run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..stats.contrast import plural
from .common import AsJson, Plugins, Runs, message, prints_aside

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="The run's id, 4 or more of its first digits, or GRID:CELL for the first seed of a cell.",
        show_default=False,
    ),
]
Prompt = Annotated[str, typer.Option("--prompt", metavar="TEXT", help="The text to continue, or to translate.")]
Tokens = Annotated[int, typer.Option("--tokens", min=1, help="How many tokens to write at most.")]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", min=0.0, help="Below 1 sharper, above 1 flatter, 0 as --greedy; default: 1."),
]
TopK = Annotated[int | None, typer.Option("--top-k", min=1, help="Sample from this many most probable tokens.")]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        min=0.0,
        max=1.0,
        help="Sample from the most probable tokens that together have this probability; 0: the most probable.",
    ),
]
Greedy = Annotated[bool, typer.Option("--greedy", help="Always the best token, instead of sampling.")]
Beams = Annotated[
    int | None, typer.Option("--beams", min=1, help="Beam search with this many beams, instead of sampling.")
]
Samples = Annotated[int, typer.Option("--samples", min=1, help="How many texts to sample.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the sampling: the same seed, the same text.")]


def generate(
    run: RunName,
    prompt: Prompt,
    tokens: Tokens = 200,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    greedy: Greedy = False,
    beams: Beams = None,
    samples: Samples = 1,
    seed: Seed = 0,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Write text with a trained run: continue a prompt, or make one text of another.

    Where the model limits positions, a longer text is cropped to its last tokens.
    """
    sampling_options = {"--temperature": temperature, "--top-k": top_k, "--top-p": top_p}
    given = [name for name, value in sampling_options.items() if value is not None]
    _check_options(greedy, beams, [*given, *(["--samples"] if samples > 1 else [])])
    from ..model.generate import SamplingParams
    from ..store.runs import Store
    from ..study.generation import TrainedRun

    try:
        sampling = SamplingParams(0.0 if greedy else 1.0 if temperature is None else temperature, top_k, top_p)
    except ValueError as error:
        raise InputError(f"--{str(error).replace('_', '-')}") from None
    with prints_aside():
        trained = TrainedRun(Store(runs), run, plugins)
    if trained.stale_code:
        message(f"run {trained.id[:12]} was trained with a different version of the code than this one")
    with prints_aside():
        texts = trained.write(prompt, tokens, sampling, beams=beams, samples=samples, seed=seed)
    if as_json:
        typer.echo(json.dumps({"run": trained.id, "prompt": prompt, "seed": seed, "texts": texts}))
        return
    for index, text in enumerate(texts):
        if index:
            typer.echo("---")
        # A model may write any character; none of them may control the terminal.
        typer.echo("".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text["text"]))
    cut = [text["tokens"] for text in texts if not text["ended"]]
    if cut:
        whose = f"{len(cut)} of {len(texts)} texts were" if len(texts) > 1 else "the text was"
        why = "" if trained.task.end is not None else "; the task has no end token"
        message(f"{whose} cut at {plural(cut[0], 'token')}, without an end{why}")


def _check_options(greedy: bool, beams: int | None, sampling: Sequence[str]) -> None:
    """Errors: InputError for options that exclude each other."""
    options = [*(["--greedy"] if greedy else []), *(["--beams"] if beams else []), *sampling]
    if len(options) > 1 and (greedy or beams):
        raise InputError(f"{options[1]}: not together with {options[0]}, which does not sample")
