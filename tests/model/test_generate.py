"""Text from a model: how tokens are chosen, and a trained run that writes, through the command line."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from support import BASE
from support.small_grids import Ablate, ids_of, plan_of, small_config, write_grid
from support.stores import rewrite
from torch import Tensor, nn

from ablation.config.layered import read_base
from ablation.errors import InputError, StorageError
from ablation.model.build import build_model
from ablation.model.generate import SamplingParams, beam_search, generate, max_positions
from ablation.model.weights import load_weights, save_weights
from ablation.registry import REGISTRY
from ablation.rng import generator
from ablation.store.attempts import begin
from ablation.store.runs import Store
from ablation.tasks.base import Task
from ablation.training.run import train

GREEDY = SamplingParams(temperature=0)
TEXT = "".join(f"the {number} cats and {number * 7} dogs sat on a mat.\n" for number in range(200))
PAIRS = "\n".join(f"{number},{str(number)[::-1]}" for number in range(100, 160))
TRANSLATION = {"name": "sequence_to_sequence", "path": "pairs.csv", "length": 8, "batch_size": 4}
LEVELS = {"name": "text", "path": "text.txt", "length": 8, "batch_size": 4}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "pairs.csv").write_text(PAIRS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def task_of(data: dict[str, Any]) -> Task:
    draft = read_base(BASE)
    anchored = {key: str(Path(value).absolute()) if key == "path" else value for key, value in data.items()}
    draft.set("task", anchored, draft.base, ())
    return draft.build().task.build()


def run_one(ablate: Ablate, folder: Path, settings: dict[str, Any], *words: str) -> str:
    """The id of the run that a grid of one cell has trained."""
    grid = write_grid(folder, {"model.block": ["pre_norm"]}, settings)
    answer = ablate("run", grid, "--json", *words)
    assert answer.code == 0, answer.err
    return next(iter(ids_of(Path("runs")).values()))[0]


# --- how tokens are chosen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", ["rope", "learned", "alibi"])
def test_greedy_takes_the_best_token_and_slides_past_max_length(
    position: str, make_model: Callable[..., nn.Module]
) -> None:
    model = make_model({"model.position": position, "model.max_length": 12})
    tokens = torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(0))
    expected, slides = tokens, position == "learned"
    with torch.no_grad():
        for _ in range(15):
            seen = expected[:, -12:] if slides else expected
            expected = torch.cat([expected, model(seen)[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(generate(model, tokens, 15, GREEDY), expected)
    assert (max_positions(model) == 12) == slides
    assert torch.equal(beam_search(model, tokens[:1], 15, 1), expected[:1])


def sampled(choice: SamplingParams, scores: Tensor) -> set[int]:
    return set(choice(scores.expand(2000, -1), generator(0, "test")).tolist())


def test_sampling_is_limited_to_top_k_and_top_p() -> None:
    scores = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()
    assert sampled(SamplingParams(), scores) == {0, 1, 2, 3}
    assert sampled(SamplingParams(top_k=2), scores) == {0, 1}
    assert sampled(SamplingParams(top_p=0.8), scores) == {0, 1, 2}
    assert sampled(SamplingParams(top_p=0.74), scores) == {0, 1}
    assert sampled(SamplingParams(top_k=3, top_p=0.3), scores) == {0}
    assert sampled(SamplingParams(temperature=0.01), scores) == {0}


@pytest.mark.parametrize("temperature", [0.0, 1e-320, 1e-50, 1e-40, 1e-38, 1e-30, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_low_temperatures_take_the_best_token(temperature: float, dtype: torch.dtype) -> None:
    scores = torch.tensor([[-40.0, 3.0, 2.0, -1e4], [500.0, 3.0, 516.0, 2.0]], dtype=dtype)
    for options in ({}, {"top_k": 3}, {"top_p": 0.9}, {"top_k": 9, "top_p": 1.0}):
        choice = SamplingParams(temperature=temperature, **options)
        assert choice(scores, generator(0, "test")).tolist() == [1, 2]


def test_no_probability_and_no_temperature_leaves_no_choice() -> None:
    scores = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()
    assert sampled(SamplingParams(top_p=0), scores) == {0} == sampled(SamplingParams(top_p=1e-300), scores)
    assert sampled(SamplingParams(top_p=0, top_k=3, temperature=5.0), scores) == {0}
    assert (
        sampled(SamplingParams(top_k=99, top_p=1.0), scores) == {0, 1, 2, 3} == sampled(SamplingParams(1e300), scores)
    )
    equal = torch.zeros(1, 4)
    assert len(sampled(SamplingParams(top_p=0), equal)) == 1
    assert sampled(SamplingParams(top_p=0.5), equal) == {0, 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("temperature", value) for value in (-1e-9, float("nan"), float("inf"))],
        *[("top_k", value) for value in (0, -1)],
        *[("top_p", value) for value in (-1e-9, 1.0001, float("nan"), float("inf"))],
    ],
)
def test_sampling_refuses_what_is_no_distribution(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be .*not {value}$"):
        SamplingParams(**{name: value})


def log_probability(model: nn.Module, text: Tensor, n_given: int) -> float:
    with torch.no_grad():
        shares = model(text[:, :-1]).log_softmax(-1)
    return float(shares.gather(2, text[:, 1:, None])[:, n_given - 1 :].sum())


def test_beam_search_is_at_least_as_probable_as_greedy(make_model: Callable[..., nn.Module]) -> None:
    gains = []
    for seed in range(4):
        model = make_model({"model.position": "rope"}, seed=seed)
        begun = torch.tensor([[seed, 3]])
        greedy, beams = generate(model, begun, 6, GREEDY), beam_search(model, begun, 6, 8)
        assert beams.shape == greedy.shape
        gains.append(log_probability(model, beams, 2) - log_probability(model, greedy, 2))
    assert min(gains) > -1e-9
    assert max(gains) > 1e-3, "somewhere the greedy text is not the best"


# --- text and tokens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_prompt_is_encoded_and_decoded_as_in_training(level: str, folder: Path) -> None:
    if level == "bpe":
        pytest.importorskip("tokenizers")
    task = task_of({**LEVELS, "level": level, "max_vocabulary": 300 if level == "bpe" else 900})
    prompt = "the 3 cats\nsat on a mat."
    assert task.decode(task.encode(prompt)) == prompt
    n_known = len(task.encode(TEXT[: len(TEXT) // 2]))
    assert task.encode(TEXT[: len(TEXT) // 2])[: n_known - 3] == torch.cat(task.parts)[: n_known - 3].tolist()


def test_unknown_characters_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match="character 'é' is not among the"):
        task_of({**LEVELS, "level": "char"}).encode("thé")
    with pytest.raises(InputError, match=r"word 'catz' is not among the .* did you mean 'cats'"):
        task_of({**LEVELS, "level": "word"}).encode("the catz")
    with pytest.raises(InputError, match="character 'a' is not among the"):
        task_of(TRANSLATION).encode("12a")
    with pytest.raises(InputError, match=r"'jumb' is not a word of a command; .* did you mean 'jump'"):
        task_of({"name": "scan", "length": 8}).encode("jumb twice")
    with pytest.raises(InputError, match=r"'4' is not a token; allowed, with spaces between: 0 1 2 3 \|"):
        task_of({"name": "copy", "symbols": 4}).encode("1 4")


def test_symbols_and_commands_are_written_as_people_write_them(folder: Path) -> None:
    addition = task_of({"name": "addition"})
    example = addition.validation()["tokens"][0].tolist()
    written = addition.decode(example)
    assert addition.encode(written) == example and "+" in written and "=" in written
    copying = task_of({"name": "copy", "symbols": 12})
    assert copying.decode(copying.encode("11 3 | 11 3")) == "11 3 | 11 3"
    scan = task_of({"name": "scan", "length": 8})
    source = scan.validation()["source"][0]
    words = " ".join(scan.decode(source[source > 2].tolist()).split())
    assert scan.encode(words) == source[source > 2].tolist()
    with pytest.raises(InputError, match="the task has no text"):
        task_of({"name": "parity"}).encode("0 1")


# --- weights ---------------------------------------------------------------------------------------------------------


def test_completed_run_saves_weights_and_retraining_starts_without(tmp_path: Path) -> None:
    config = small_config()
    train(config, tmp_path)
    task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, 99)
    untrained = build_model(config.model, task.vocabulary, task.longest, config.seed)
    load_weights(model, tmp_path / "weights.safetensors")
    same = [torch.equal(a, b) for a, b in zip(model.parameters(), untrained.parameters(), strict=True)]
    assert not any(same), "what was learned, not what was sampled"
    assert not list(tmp_path.glob(".*.tmp"))


def test_weights_are_saved_only_on_request_and_for_finite_runs(tmp_path: Path) -> None:
    train(small_config({"training.save_weights": False}), tmp_path)
    result = train(small_config({"optimizer.lr": 1e20, "training.gradient_clip": None}), tmp_path)
    assert result["status"] == "diverged"
    assert not (tmp_path / "weights.safetensors").exists()


def test_run_that_is_trained_anew_begins_without_weights(tmp_path: Path) -> None:
    store, run = Store(tmp_path / "runs"), plan_of(write_grid(tmp_path)).runs[0]
    died = begin(store.order(run))
    for name in ("weights.safetensors", ".weights.safetensors.0.tmp", ".tmpYvmrqd"):  # the last is safetensors' own
        (died / name).write_bytes(b"of an attempt that died")
    assert {file.name for file in begin(store.order(run)).iterdir()} == {"run.json", "attempt.json"}
    assert not died.exists()


def test_tied_tensor_is_saved_once_and_loaded_into_both_modules(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
            self.other.weight = self.one.weight

    model, again = Tied(), Tied()
    save_weights(model, tmp_path / "tied.safetensors")
    assert (tmp_path / "tied.safetensors").stat().st_size < 1.2 * model.one.weight.nbytes
    load_weights(again, tmp_path / "tied.safetensors")
    assert torch.equal(again.other.weight, model.one.weight) and again.other.weight is again.one.weight
    with pytest.raises(StorageError, match="not the weights of this run"):
        load_weights(nn.Linear(2, 2), tmp_path / "tied.safetensors")


# --- the command -----------------------------------------------------------------------------------------------------


def test_decoder_continues_a_prompt_from_saved_weights(folder: Path, ablate: Ablate) -> None:
    run_id = run_one(ablate, folder, {"task": LEVELS, "training.max_steps": 20})

    def write(*words: str) -> list[str]:
        answer = ablate("generate", run_id[:8], "--prompt", "the ", "--tokens", "30", "--json", *words)
        assert answer.code == 0, answer.err
        assert answer.json["run"] == run_id and answer.json["prompt"] == "the "
        assert all(text["tokens"] == 30 and text["ended"] is False for text in answer.json["texts"])
        return [text["text"] for text in answer.json["texts"]]

    config = small_config({"task": {**LEVELS, "path": str(folder / "text.txt")}})
    task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, 5)
    load_weights(model, Store(Path("runs")).directory(run_id) / "weights.safetensors")
    tokens = generate(model, torch.tensor([task.encode("the ")]), 30, GREEDY)
    assert (
        write("--greedy") == [task.decode(tokens[0].tolist())] == write("--top-k", "1") == write("--temperature", "0")
    )
    assert write("--greedy") == write("--top-p", "0") == write("--temperature", "1e-40") == write("--top-p", "1e-40")
    assert write("--top-k", "100000") == write("--top-p", "1") == write()
    assert write("--seed", "1") == write("--seed", "1") != write("--seed", "2")
    assert len(set(write("--samples", "3"))) == 3
    assert write("--beams", "1") == write("--greedy")
    label = next(iter(ids_of(Path("runs"))))
    answer = ablate("generate", f"small:{label}", "--prompt", "the ", "--tokens", "30", "--greedy")
    assert answer.out == f"{write('--greedy')[0]}\n"
    assert answer.err == "the text was cut at 30 tokens, without an end; the task has no end token\n"


def test_generating_without_a_completed_run_is_one_line(folder: Path, ablate: Ablate) -> None:
    run_id = run_one(ablate, folder, {"task": LEVELS})

    def refused(*words: str) -> str:
        answer = ablate("generate", *words)
        assert answer.code == 2 and answer.err.count("\n") == 1, answer.err
        return answer.err

    prompt = ("--prompt", "the")
    assert "--prompt: character 'é' is not among the" in refused(run_id, "--prompt", "é")
    assert "--prompt: it has no tokens" in refused(run_id, "--prompt", "")
    assert "no run in runs has an id that begins with this" in refused(
        "0" * 8 if run_id[:8] != "0" * 8 else "1" * 8, *prompt
    )
    assert "4 or more" in refused(run_id[:3], *prompt)
    assert "4 or more" in refused("../../x", *prompt)
    assert "no grid 'smal' was run" in refused("smal:x", *prompt)
    assert "'block=pre_nrm' is not a cell; cells: " in refused("small:block=pre_nrm", *prompt)
    assert "--top-k: not together with --greedy" in refused(run_id, *prompt, "--greedy", "--top-k", "2")
    for option, value in (("--temperature", "nan"), ("--temperature", "inf"), ("--top-p", "nan")):
        assert option in refused(run_id, *prompt, option, value)
    assert "--samples: not together with --beams" in refused(run_id, *prompt, "--beams", "2", "--samples", "2")
    twin = Path("runs/store") / run_id[:2] / f"{run_id[:31]}{'0' if run_id[31] != '0' else '1'}"
    twin.mkdir()
    assert "2 runs in runs have ids that begin with this" in refused(run_id[:8], *prompt)
    assert "missing; only completed runs have weights" in refused(twin.name, *prompt)
    twin.rmdir()
    Path("text.txt").write_text(TEXT.replace("cats", "cows"))
    assert "has changed since this was planned" in refused(run_id, *prompt)
    Path("text.txt").write_text(TEXT)
    (Store(Path("runs")).directory(run_id) / "weights.safetensors").unlink()
    err = refused(run_id, *prompt)
    assert "its weights were not saved" in err and "--retry stale_code" in err and "training.save_weights: true" in err


def test_models_that_generate_no_text_are_refused(folder: Path, ablate: Ablate) -> None:
    gaps = run_one(ablate, folder, {"task": {**LEVELS, "name": "masked_text"}, "model.architecture": "encoder"})
    assert "the encoder fills gaps and writes no text" in ablate("generate", gaps, "--prompt", "the").err
    small = {"length": 8, "batch_size": 4, "epoch_examples": 24, "validation_examples": 10}
    classes = run_one(ablate, folder, {"task": {"name": "parity", **small}})
    assert "the decoder classifies and writes no text" in ablate("generate", classes, "--prompt", "0 1").err


@pytest.mark.parametrize("architecture", ["encoder_decoder", "prefix_decoder"])
@pytest.mark.parametrize("position", ["rope", "learned"])
def test_model_of_pairs_writes_the_target_of_a_source(
    position: str, architecture: str, folder: Path, ablate: Ablate
) -> None:
    settings = {"model.architecture": architecture, "model.position": position}
    run_id = run_one(ablate, folder, {"task": TRANSLATION, "training.max_steps": 30, "optimizer.lr": 1e-2, **settings})
    config = small_config({"task": {**TRANSLATION, "path": str(folder / "pairs.csv")}, **settings})
    task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, 5)
    load_weights(model, Store(Path("runs")).directory(run_id) / "weights.safetensors")
    source = torch.tensor([task.encode("123")])
    with torch.no_grad():
        tokens = [1]
        for _ in range(8):
            tokens.append(int(model.eval()(torch.tensor([tokens]), source=source)[0, -1].argmax()))
            if tokens[-1] == 2:
                break
        memory = model.encode(source)
    best = beam_search(model, torch.tensor([[1]]), 8, 3, end=2, memory=memory)[0].tolist()
    for way, wanted in (("--greedy", tokens), ("--beams=3", best)):
        for limit in (8, 1):
            answer = ablate("generate", run_id, "--prompt", "123", way, f"--tokens={limit}", "--json")
            assert answer.code == 0, answer.err
            (text,) = answer.json["texts"]
            if limit == 8:
                assert text["text"] == task.decode(wanted)
                assert text["ended"] == (2 in wanted) and text["tokens"] == len(wanted) - 1 - text["ended"]
            said = ablate("generate", run_id, "--prompt", "123", way, f"--tokens={limit}").err
            cut = "the text was cut at {}, without an end\n".format("1 token" if limit == 1 else "8 tokens")
            assert said == ("" if text["ended"] else cut)
    if position == "learned":
        answer = ablate("generate", run_id, "--prompt", "123456123")
        assert answer.code == 2 and "it has 9 tokens; the model was built for 8" in answer.err


def test_run_of_a_plugin_needs_that_plugin(
    folder: Path, ablate: Ablate, scratch_registry: dict[str, dict[str, Any]]
) -> None:
    plugin = folder / "still.py"
    member = '@register("position", "still")\nclass Still(Position):\n    """No position."""\n'
    plugin.write_text(f'"""{folder}"""\nfrom ablation import Position, register\n\n\n{member}')
    run_id = run_one(ablate, folder, {"task": LEVELS, "model.position": "still"}, "--plugin", str(plugin))
    ways = ("generate", run_id, "--prompt", "the", "--tokens", "3")
    assert ablate(*ways, "--plugin", str(plugin)).code == 0
    (folder / "copy.py").write_bytes(plugin.read_bytes())
    plugin.write_text("# another\n")
    said = ablate(*ways, "--plugin", str(plugin)).err
    assert "none of the files named with --plugin is what the run was trained with" in said
    assert ablate(*ways, "--plugin", "copy.py").code == 0


@pytest.mark.parametrize("command", [("generate", "--prompt", "the"), ("show",)])
def test_file_that_a_run_names_is_not_run_unasked(
    folder: Path, ablate: Ablate, scratch_registry: dict[str, dict[str, Any]], command: tuple[str, ...]
) -> None:
    run_id = run_one(ablate, folder, {"task": LEVELS})
    evil = folder / "evil.py"
    evil.write_text(f"open({str(folder / 'was_run')!r}, 'w').close()\n")
    record = Store(folder / "runs").directory(run_id) / "run.json"
    plugins = [{"file": str(evil), "sha256": sha256(evil.read_bytes()).hexdigest()}]
    record.write_text(json.dumps({**json.loads(record.read_text()), "plugins": plugins}))
    rewrite(record.with_name("result.json"), json.loads(record.with_name("result.json").read_text()))
    answer = ablate(command[0], run_id, *command[1:])
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert f"the run was trained with {evil}: if you trust that file, add --plugin {evil}" in answer.err
    assert not (folder / "was_run").exists()


def test_control_characters_are_not_printed(folder: Path, ablate: Ablate) -> None:
    (folder / "text.txt").write_text("\x1b[2J" * 500)
    run_id = run_one(ablate, folder, {"task": LEVELS})
    answer = ablate("generate", run_id, "--prompt", "[", "--tokens", "40")
    assert answer.code == 0 and "\x1b" not in answer.out and len(answer.out) == 42
    assert "\x1b" in json.loads(ablate("generate", run_id, "--prompt", "[", "--json").out)["texts"][0]["text"]


def test_positions_declare_whether_they_end() -> None:
    assert {name for name, member in REGISTRY["position"].items() if ends(member)} == {"learned"}


def ends(member: Any) -> bool:
    from ablation.components.base import BuildContext

    shape = BuildContext(d_model=16, n_layers=1, n_heads=2, n_kv_heads=2, max_length=7)
    return member(name=member.model_fields["name"].annotation.__args__[0]).build(shape).max_positions == 7
