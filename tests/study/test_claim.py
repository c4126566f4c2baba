"""The rules of a claim: what `ablate claim` refuses or marks, its fresh seeds, and the answers it remembers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.small_grids import Ablate, one_line, output, plan_of, write_grid

LOSS = {"measure": "loss", "cell": {"block": "post_norm"}, "expected": "lower"}
BAG = {"measure": "order_sensitivity", "cell": {"position": "none"}, "number": 1e-6, "expected": "lower"}
NOISY = {"measure": "order_sensitivity", "cell": {"position": "none"}, "expected": "lower"}
BOTH = [{}, {"block": "post_norm"}]
SEARCH = [{"arms": BOTH, "tried": {"optimizer.lr": [1e-4, 1e-3, 1e-2]}}]
BLOCKS = {"model.block": ["pre_norm", "post_norm"]}
POSITIONS = {"model.position": ["rope", "none"]}
PROBED = {"task": {"name": "text", "length": 12, "batch_size": 4}}


def write_claim(
    folder: Path,
    claim: Mapping[str, Any] | None = None,
    factors: Mapping[str, list[Any]] = BLOCKS,
    seeds: int | list[int] = 3,
    settings: Mapping[str, Any] | None = None,
    **extra: Any,
) -> Path:
    """A claim about the loss of two blocks that keeps every rule, with other keys laid over it."""
    file = write_grid(folder, factors, {"training.max_steps": 2, "training.evaluate_every": 2, **(settings or {})})
    whole = {"statement": "So.", "source": "They", "expect": [LOSS], "pilot_seeds": [90], "search": SEARCH}
    grid = {**yaml.safe_load(file.read_text()), "seeds": seeds, "claim": {**whole, **(claim or {})}, **extra}
    file.write_text(yaml.safe_dump(grid, sort_keys=False))
    return file


def probe_claim(folder: Path, claim: Mapping[str, Any] | None = None, **extra: Any) -> Path:
    """A claim that is supported and trains nothing."""
    keys = {"expect": [BAG], "search": [], **(claim or {})}
    return write_claim(folder, keys, POSITIONS, settings=PROBED, **extra)


def replications(*answers: str, seeds: int = 3) -> list[dict[str, Any]]:
    return [{"seed": number, "seeds": seeds, "answer": answer} for number, answer in enumerate(answers)]


TWICE = replications("supported", "supported")


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"pilot_seeds": [7, 1]}, "claim.pilot_seeds: 1 is among `seeds` too"),
        ({"search": []}, "claim.search: says nothing of block=post_norm"),
        ({"search": [{**SEARCH[0], "arms": [{}]}]}, "claim.search: says nothing of block=post_norm"),
        (
            {
                "search": [
                    {"arms": [{}], "tried": {"optimizer.lr": [1e-4, 1e-3, 1e-2]}},
                    {"arms": [{"block": "post_norm"}], "tried": {"optimizer.lr": [1e-4, 3e-4, 1e-3, 1e-2]}},
                ]
            },
            "4 settings of block=post_norm, 3 of block=pre_norm",
        ),
        ({"search": [{"arms": BOTH, "tried": {"optimizer.lr": [1e-4, 1e-3]}}]}, "at the edge of what was tried"),
        ({"search": [{"arms": BOTH, "tried": {"optimizer.lr": [1e-4, 1e-2]}}]}, "0.001, which was not tried"),
        (
            {"search": [{"arms": BOTH, "tried": {"model.initialization": ["xavier"]}}]},
            "model.initialization gpt2, which was not tried: xavier",
        ),
        ({"search": [{"arms": [{"blok": "x"}], "tried": {"seed": [1]}}]}, "did you mean 'block'?"),
        ({"answer": "supported"}, "claim.answer: 'supported' needs 2 replications (--fresh SEED), not 0"),
        ({"answer": "supported", "replications": replications("supported")}, "(--fresh SEED), not 1"),
        (
            {"answer": "supported", "replications": replications("supported", "supported", "not resolved")},
            "a replication came out 'not resolved'",
        ),
        ({"answer": "contradicted", "replications": TWICE}, "a replication came out 'supported'"),
        ({"replications": replications("supported", seeds=2)}, "was with 2 seeds, the file has 3"),
        ({"replications": [TWICE[0], TWICE[0]]}, "seed 0 appears twice"),
    ],
)
def test_broken_rule_is_refused_in_one_line_with_its_place(
    ablate: Ablate, tmp_path: Path, claim: dict[str, Any], message: str
) -> None:
    file = write_claim(tmp_path, claim)
    found = ablate("claim", file)
    assert found.code == 2
    assert message in one_line(found)
    assert not (tmp_path / "runs" / "store").exists()


def test_answer_of_a_claim_without_pilot_seeds_is_marked(ablate: Ablate, tmp_path: Path) -> None:
    file = probe_claim(tmp_path, {})
    assert "pilot" not in ablate("claim", file, "--json").out
    grid = yaml.safe_load(file.read_text())
    del grid["claim"]["pilot_seeds"]
    file.write_text(yaml.safe_dump(grid))
    found = ablate("claim", file, "--json")
    assert found.code == 0 and any("does not name its `pilot_seeds`" in note for note in json.loads(found.out)["notes"])
    grid["claim"]["answer"] = "supported"
    file.write_text(yaml.safe_dump(grid))
    assert "'supported' needs `pilot_seeds`" in one_line(ablate("claim", file))


def test_search_may_differ_in_values_but_not_in_their_number(ablate: Ablate, tmp_path: Path) -> None:
    factors = {"model.block": ["pre_norm", "post_norm"], "optimizer.lr": [1e-3, 1e-2]}
    exclude = [{"model.block": "pre_norm", "optimizer.lr": 1e-2}, {"model.block": "post_norm", "optimizer.lr": 1e-3}]
    better = {"block": "post_norm", "lr": 1e-2}
    search = [
        {"arms": [{}], "tried": {"optimizer.lr": [1e-4, 1e-3, 1e-2]}},
        {"arms": [better], "tried": {"optimizer.lr": [1e-3, 1e-2, 1e-1]}},
    ]
    expect = [{**LOSS, "cell": better}]
    file = write_claim(tmp_path, {"search": search, "expect": expect}, factors, exclude=exclude)
    assert ablate("claim", file, "--workers", "1", "--json").json["answer"]


def test_rate_that_nobody_searched_is_marked(ablate: Ablate, tmp_path: Path) -> None:
    file = write_claim(tmp_path, {"search": [{"arms": BOTH, "tried": {"model.initialization": ["gpt2", "xavier"]}}]})
    assert "! its arms run at one learning rate, and no other was tried" in output(
        ablate("claim", file, "--workers", "1")
    )


def test_best_rate_at_the_edge_of_a_swept_factor_is_marked(ablate: Ablate, tmp_path: Path) -> None:
    factors = {"optimizer.lr": [1e-9, 1e-8, 1e-2, 1e-1]}
    expect = [{"measure": "loss", "cell": {"lr": 1e-8}, "expected": "higher"}]
    settings = {"training.max_steps": 6}
    file = write_claim(tmp_path, {"search": [], "expect": expect}, factors, settings=settings, metric="loss")
    (note,) = ablate("claim", file, "--workers", "1", "--json").json["notes"]
    assert note.startswith("the best rate is 0.1, the highest")


def test_seeds_added_without_planned_looks_are_marked(ablate: Ablate, tmp_path: Path) -> None:
    assert "!" not in output(ablate("claim", probe_claim(tmp_path, {"answer": "not resolved"}, seeds=2)))
    grown = output(ablate("claim", probe_claim(tmp_path, seeds=3)))
    assert "! it was answered with 2 seeds before, and the 1 since then were no planned look" in grown
    # the same runs once more, no look in between
    again = output(ablate("claim", probe_claim(tmp_path, seeds=3)))
    assert "2 seeds before" in again and "3 seeds before" not in again


def test_planned_looks_spend_alpha_and_are_not_marked(ablate: Ablate, tmp_path: Path) -> None:
    file = probe_claim(tmp_path, {"expect": [NOISY]}, seeds=3, interim_looks=[3, 5])
    first = json.loads(output(ablate("claim", file, "--json")))
    file = probe_claim(tmp_path, {"expect": [NOISY]}, seeds=5, interim_looks=[3, 5])
    second = json.loads(output(ablate("claim", file, "--json")))
    alphas = [found["findings"][0]["verdict"]["alpha"] for found in (first, second)]
    assert sum(alphas) == pytest.approx(0.05) and all(0 < alpha < 0.05 for alpha in alphas)
    assert not any("answered with" in note for note in second["notes"])
    refused = ablate("claim", probe_claim(tmp_path, seeds=4, interim_looks=[3, 5]))
    assert "seeds: 4 seeds are no planned look; a claim is tested at one of 3, 5" in one_line(refused)


def test_fresh_seeds_are_as_many_and_none_that_was_seen(ablate: Ablate, tmp_path: Path) -> None:
    file = probe_claim(tmp_path, {"pilot_seeds": [90, 91]})
    found = ablate("claim", file, "--fresh", "7")
    assert found.code == 0
    assert "{seed: 7, seeds: 3, answer: supported, data: " in found.err
    manifest = json.loads((tmp_path / "runs" / "small-fresh-7" / "manifest.json").read_text())
    assert len(set(manifest["seeds"])) == 3
    assert not {*manifest["seeds"]} & {90, 91, *plan_of(file).seeds}
    other = ablate("claim", file, "--fresh", "8", "--json")
    (answered,) = json.loads((tmp_path / "runs" / "small-fresh-8" / "answers.json").read_text())
    assert answered["answer"] == other.json["answer"] and not {*answered["seeds"]} & {*manifest["seeds"]}


def test_fresh_seeds_avoid_those_of_pilots(tmp_path: Path) -> None:
    from ablation.grid.file import read_grid
    from ablation.study.claim import fresh_grid

    first = fresh_grid(read_grid(probe_claim(tmp_path)), 7).config.seeds
    pilots = {"pilot_seeds": first[:2]}
    second = fresh_grid(read_grid(probe_claim(tmp_path, pilots)), 7).config.seeds
    assert second[0] == first[2] and not {*second} & {*first[:2]}


def test_answer_that_differs_from_the_file_is_marked(ablate: Ablate, tmp_path: Path) -> None:
    file = probe_claim(tmp_path, {"answer": "contradicted"})
    assert "! the file says 'contradicted'" in output(ablate("claim", file))
    assert "! on these seeds; replicated 0 times of 2" in output(ablate("claim", probe_claim(tmp_path)))
    twice = {"answer": "supported", "replications": TWICE}
    assert "!" not in output(ablate("claim", probe_claim(tmp_path, twice)))
    assert "! --fresh 1 is in the file already" in output(ablate("claim", probe_claim(tmp_path, twice), "--fresh", "1"))


def test_claim_that_came_out_otherwise_on_fresh_seeds_says_so(ablate: Ablate, tmp_path: Path) -> None:
    mixed = {"answer": "not resolved", "replications": replications("supported", "not resolved")}
    (note,) = ablate("claim", probe_claim(tmp_path, mixed), "--json").json["notes"]
    assert note == "on these seeds; a replication came out 'not resolved', so that the claim is not resolved"


def test_time_per_token_is_measured_in_as_many_processes(ablate: Ablate, tmp_path: Path) -> None:
    expect = [
        {"measure": "seconds_per_token", "cell": {"length": 256}, "expected": "lower", "ratio": True},
        {"measure": "training_step", "cell": {"length": 256}, "expected": "higher", "ratio": True},
    ]
    settings = {"task": {"name": "text", "length": 8, "batch_size": 1}, "model.position": "none"}
    claim, lengths = {"expect": expect, "search": []}, {"task.length": [8, 256]}
    file = write_claim(tmp_path, claim, lengths, seeds=3, settings=settings, allow=["validation"])
    found = ablate("claim", file, "--json").json
    per_token, per_step = found["findings"]
    assert len(per_token["values"]) == 3
    assert found["answer"] == "supported"
    for one, other, short in zip(per_token["values"], per_step["values"], per_token["references"], strict=True):
        assert other - one == pytest.approx(5.545177444479562)  # ln 256, the tokens of a step
        assert short > one
    assert not list((tmp_path / "runs").rglob("metrics.jsonl"))
