"""Commands take the name of a grid, claim or model that comes with the package, from any folder."""

from pathlib import Path

import pytest
from support.small_grids import SMALL, Ablate, one_line, output, write_grid, write_results


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("written", ["quickstart", "conf/grids/quickstart.yaml"])
def test_grid_is_planned_by_its_name(ablate: Ablate, written: str) -> None:
    assert ablate("plan", written, "--seeds", "1", "--json").json["grid"] == "quickstart"


def test_claim_is_tested_by_its_name(ablate: Ablate) -> None:
    assert ablate("claim", "attention_scale", "--json").json["answer"] == "supported"
    # its grid has another name than its file, and is read by both
    assert output(ablate("table", "attention_scale")) == output(ablate("table", "attention-scale"))
    assert output(ablate("export", "attention_scale")) == output(ablate("export", "attention-scale"))


@pytest.mark.parametrize("base", ["gpt2", "conf/models/gpt2.yaml"])
def test_base_of_a_grid_is_a_model_by_its_name(ablate: Ablate, base: str) -> None:
    text = f"name: mine\nbase: {base}\nset: {{task: {{name: copy}}}}\nfactors: {{model.n_heads: [4, 2]}}\nseeds: 1\n"
    Path("mine.yaml").write_text(text)
    assert len(ablate("plan", "mine.yaml", "--json").json["cells"]) == 2


def test_unknown_base_names_its_line_and_the_nearest_model(ablate: Ablate) -> None:
    Path("mine.yaml").write_text("name: mine\nbase: gtp2\nfactors: {model.n_heads: [4, 2]}\n")
    line = one_line(ablate("plan", "mine.yaml"))
    assert line.startswith(
        "ablate: mine.yaml:2:1: base: gtp2: there is no such file or name; baselines: base; models: "
    )
    assert line.endswith("did you mean 'gpt2'?")


def test_grid_is_written_on_a_model_by_its_name(ablate: Ablate) -> None:
    assert ablate("grid", "mine.yaml", "--vary", "model.n_heads=4,2", "--base", "gpt2").code == 0
    assert "base: gpt2\n" in Path("mine.yaml").read_text()
    answer = ablate("grid", "other.yaml", "--vary", "model.n_heads=4,2", "--base", "gtp2")
    assert answer.code == 2 and "did you mean 'gpt2'?" in one_line(answer)


def test_results_are_those_of_the_folder_of_runs_before_those_of_a_packaged_grid(
    ablate: Ablate, tmp_path: Path
) -> None:
    file = write_grid(tmp_path, name="small", settings={"task": SMALL["task"]})
    write_results(tmp_path)
    own = file.read_text().replace("name: small", "name: quickstart")
    (tmp_path / "mine.yaml").write_text(own)
    (tmp_path / "runs" / "small").rename(tmp_path / "runs" / "quickstart")
    manifest = tmp_path / "runs" / "quickstart" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"small"', '"quickstart"').replace("small.yaml", "mine.yaml"))
    for words in (["table", "quickstart", "--format", "csv"], ["table", "mine.yaml", "--format", "csv"]):
        assert "block=post_norm" in output(ablate(*words)) and "alibi" not in output(ablate(*words))
    assert ablate("report", "quickstart").code == 0  # into the folder of the grid that was read
    refused = ablate("run", "quickstart")
    assert refused.code == 2 and "is also that of mine.yaml" in one_line(refused)
