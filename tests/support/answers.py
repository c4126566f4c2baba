"""docs/answers.md: what came out of the claims in conf/claims on the seeds in their files, as pictures.

`python3 tasks.py answers` tests all of them, which takes an hour on two cores the first time; with names, these alone.
The page has every claim of which there is a picture.
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
CLAIMS, PAGE, PICTURES = ROOT / "conf" / "claims", ROOT / "docs" / "answers.md", ROOT / "docs" / "answers"
NAMES = [file.stem for file in sorted(CLAIMS.glob("*.yaml"))]
ABLATE = "import sys; from ablation.cli import main; sys.exit(main())"
HEAD = """\
# Answers: every claim as a picture

Written by `python3 tasks.py answers`, from the runs of the claims in `conf/claims/` on the seeds in their files. Each
row is one expectation: a dot is one seed, or one process that took a time, the bar the 95 % interval of their mean
before correction, and the band where the difference was expected to be. Green is supported, orange contradicted, gray
not resolved. What counts is the answer after replications on fresh seeds, which is above each picture;
[questions](questions.md) has it in words, and [claims](claims.md) the rules.
"""


def answer(name: str, runs: Path) -> None:
    """Test one claim and keep its picture. Errors: CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", ABLATE, "claim", str(CLAIMS / f"{name}.yaml")]
        done = subprocess.run(
            [*command, "--runs", str(runs), "--figures", folder, "--json"], check=True, cwd=ROOT, stdout=subprocess.PIPE
        )
        picture = Path(folder) / "claim.svg"
        sys.stdout.write(f"{name}: {json.loads(done.stdout)['answer']}\n")
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


def page() -> str:
    answered = [name for name in NAMES if (PICTURES / f"{name}.svg").is_file()]
    return HEAD + "".join(map(section, answered))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="CLAIM")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    arguments = parser.parse_args()
    for name in arguments.names or NAMES:
        answer(name, arguments.runs.absolute())
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
