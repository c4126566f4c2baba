"""docs/answers.md: what came out of the claims in conf/claims and of grids in conf/grids, as pictures.

`python3 tasks.py answers` runs all of them, which takes two hours on two cores the first time; with names, these alone.
The page has every claim and grid of which there is a picture.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CLAIMS, GRIDS = ROOT / "conf" / "claims", ROOT / "conf" / "grids"
PAGE, PICTURES = ROOT / "docs" / "answers.md", ROOT / "docs" / "answers"
NAMES = [file.stem for file in sorted(CLAIMS.glob("*.yaml"))]
TRAINED = {
    "architectures": "forest_quality_exact_match",
    "banking77": "forest_quality_accuracy",
    "enwik6": "forest_quality_loss",
    "listops": "length_accuracy",
    "scan_length": "forest_quality_exact_match",
    "tinyshakespeare": "length_loss",
    "wikitext2_masked": "forest_quality_loss",
    "wikitext2_words": "forest_quality_loss",
}
"""Grids with the figure of their page that answers their question."""
TIMED = {
    "speed_caches": ["forest_efficiency_decode", "--lengths", "2048"],
    "speed_compiled": ["forest_efficiency_training_step"],
    "speed_kernels": ["forest_efficiency_training_step"],
    "speed_mixers": ["forest_efficiency_training_step"],
}
"""The same of grids that are timed by `ablate bench`, and not trained, with its options."""
PROFILE = "profile"
"""The name of the baseline's flame graph."""
ABLATE = "import sys; from ablation.cli import main; sys.exit(main())"
HEAD = """\
# Answers: every claim as a picture

Written by `python3 tasks.py answers`, from the runs of the claims in `conf/claims/` on the seeds in their files. Each
row is one expectation: a dot is one seed, or one process that took a time, the bar the 95 % interval of their mean
before correction, and the band where the difference was expected to be. Green is supported, orange contradicted, gray
not resolved. What counts is the answer after replications on fresh seeds, which is above each picture;
[questions](questions.md) has it in words, and [claims](claims.md) the rules.
"""
TRAINED_HEAD = """
## Grids that are trained

The grids of [questions](questions.md) that are no claims, three seeds each: differences to the first level with their
95 % intervals, or the scores on sequences longer than in training. The first lines of each file have them in numbers.
"""
TIMED_HEAD = """
## Grids that are timed

By `ablate bench`, interleaved and in five fresh processes, on one thread of a CPU with two cores: elsewhere the numbers
are others. A dot is a process.
"""
PROFILE_SECTION = f"""
### {PROFILE}

Where does the time of a training step of conf/base.yaml go, and of a token that is decoded?

![{PROFILE}](answers/{PROFILE}.svg)
"""


def answer(name: str, runs: Path) -> None:
    """Test one claim and keep its picture. Errors: CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        done = ablate("claim", str(CLAIMS / f"{name}.yaml"), "--runs", str(runs), "--figures", folder, "--json")
        sys.stdout.write(f"{name}: {json.loads(done)['answer']}\n")
        keep(Path(folder) / "claim.svg", name)


def compare(name: str, runs: Path) -> None:
    """Train or time one grid and keep its picture. Errors: CalledProcessError."""
    grid, where = str(GRIDS / f"{name}.yaml"), ("--runs", str(runs))
    if name in TIMED:
        figure, *options = TIMED[name]
        ablate("bench", grid, *where, *options)
    else:
        figure = TRAINED[name]
        ablate("run", grid, *where, "--set", "tracking.mode=disabled")
    with tempfile.TemporaryDirectory() as folder:
        ablate("report", grid, *where, "--figures", folder, "--output", f"{folder}/page.html")
        keep(Path(folder) / f"{figure}.svg", name)


def profile(name: str, runs: Path) -> None:
    """Draw where the time of a training step of the baseline goes. Errors: CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "profile.svg"
        ablate("profile", str(ROOT / "conf" / "base.yaml"), "--runs", str(runs), "--svg", str(picture))
        keep(picture, name)


def ablate(*arguments: str) -> str:
    """What a command prints. Errors: CalledProcessError."""
    command = [sys.executable, "-c", ABLATE, *arguments]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def keep(picture: Path, name: str) -> None:
    if picture.is_file():
        PICTURES.mkdir(exist_ok=True)
        picture.replace(PICTURES / f"{name}.svg")


def section(name: str) -> str:
    claim: dict[str, Any] = yaml.safe_load((CLAIMS / f"{name}.yaml").read_text(encoding="utf-8"))["claim"]
    answer = f"**{claim.get('answer', 'not yet said')}**"
    replications = [replication["answer"] for replication in claim.get("replications", ())]
    if replications:
        answer += f" (on fresh seeds: {', '.join(replications)})"
    statement = " ".join(claim["statement"].split())
    return f"\n## {name}\n\n{statement} {claim['source']}: {answer}.\n\n![{name}](answers/{name}.svg)\n"


def grid_section(name: str) -> str:
    question = (GRIDS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[1].removeprefix("# ")
    return f"\n### {name}\n\n{question}\n\n![{name}](answers/{name}.svg)\n"


def page() -> str:
    claims, trained, timed = (
        [name for name in of if (PICTURES / f"{name}.svg").is_file()] for of in (NAMES, TRAINED, TIMED)
    )
    trained_grids, timed_grids = "".join(map(grid_section, trained)), "".join(map(grid_section, timed))
    return "".join([HEAD, *map(section, claims), TRAINED_HEAD, trained_grids, TIMED_HEAD, timed_grids, PROFILE_SECTION])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    makers = {**dict.fromkeys(NAMES, answer), **dict.fromkeys([*TRAINED, *TIMED], compare), PROFILE: profile}
    parser.add_argument("names", nargs="*", choices=[*makers, []], metavar="NAME")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    arguments = parser.parse_args()
    for name in arguments.names or makers:
        makers[name](name, arguments.runs.absolute())
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
