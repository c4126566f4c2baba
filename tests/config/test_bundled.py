"""What comes with the package is found by name, unless a file is there."""

from pathlib import Path

import pytest
from support import CONF

from ablation.config.bundled import BASELINES, GRIDS, find, names
from ablation.errors import InputError, nearest_file


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_names_of_grids_claims_and_models_are_their_files() -> None:
    assert find(Path("quickstart"), GRIDS) == CONF / "grids" / "quickstart.yaml"
    assert find(Path("attention_scale"), GRIDS) == CONF / "claims" / "attention_scale.yaml"
    assert find(Path("gpt2"), BASELINES) == CONF / "models" / "gpt2.yaml"
    assert find(Path("base"), BASELINES) == CONF / "base.yaml"


def test_no_name_means_two_files() -> None:
    for folders in (GRIDS, BASELINES):
        all_names = [name for folder in folders.values() for name in names(folder)]
        assert len(all_names) == len(set(all_names)) > 10


def test_file_that_exists_comes_before_a_name(tmp_path: Path) -> None:
    Path("gpt2").write_text("mine")
    assert find(Path("gpt2"), BASELINES) == Path("gpt2")
    assert find(Path("gpt2"), BASELINES, relative_to=tmp_path) == tmp_path / "gpt2"


def test_folder_of_that_name_is_no_baseline() -> None:
    Path("gpt2").mkdir()  # such as a checkpoint's
    assert find(Path("gpt2"), BASELINES) == CONF / "models" / "gpt2.yaml"


def test_conf_is_that_of_the_package_where_there_is_no_such_file(tmp_path: Path) -> None:
    written = Path("conf/models/bert.yaml")
    assert find(written, BASELINES) == CONF / "models" / "bert.yaml"
    (tmp_path / "conf" / "models").mkdir(parents=True)
    written.write_text("mine")
    assert find(written, BASELINES) == written
    assert find(Path("conf/models/absent.yaml"), BASELINES) == Path("conf/models/absent.yaml")


def test_unknown_name_is_one_line_with_all_names_and_the_nearest() -> None:
    with pytest.raises(InputError) as refusal:
        find(Path("atention_scale"), GRIDS)
    message = str(refusal.value)
    assert message.startswith("atention_scale: there is no such file or name; grids: allowed_half, ")
    assert "; claims: associative_recall, " in message and message.endswith("; did you mean 'attention_scale'?")
    assert "\n" not in message


def test_unknown_name_is_compared_with_files_and_with_grids_that_were_run() -> None:
    Path("study.yaml").write_text("")
    for written, others, expected in (("study", (), "study.yaml"), ("my-heds", ["my-heads"], "my-heads")):
        with pytest.raises(InputError, match=f"did you mean '{expected}'"):
            find(Path(written), GRIDS, others=others)


def test_nearest_is_a_grid_that_was_run_or_a_file_of_yaml_and_no_archive(tmp_path: Path) -> None:
    for name in ("tiny.tar", "lr.yaml"):
        Path(name).write_text("")
    with pytest.raises(InputError, match=r"in the folder of runs: tiny; grids: .*; did you mean 'tiny'\?$"):
        find(Path("tinny"), GRIDS, others=["tiny"])
    with pytest.raises(InputError, match=r"no such file or name; grids: [^?]*$"):
        find(Path("tinny-tar-x"), GRIDS)
    assert nearest_file(Path("l.yaml")) == "; did you mean 'lr.yaml'?"
    assert nearest_file(Path("nothere.yaml")) == ""
