"""What stands around the code: the citation, the hooks, the workflows, the templates and the licenses."""

import re
import tomllib

import pytest
import yaml
from support import ROOT

import ablation

CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, GROUPS = CONFIGURATION["project"], CONFIGURATION["dependency-groups"]
TASKS = set(re.findall(r"^@task.*?^def (\w+)\(", (ROOT / "tasks.py").read_text(), flags=re.S | re.M))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def check_command(command: str) -> None:
    """What a hook or a workflow calls is a script of the repository or one of its tasks."""
    match = re.fullmatch(
        r"python3 tasks\.py (\w+)|\.ci/run|\.venv/bin/python -m pip install -c .* --group (\w+)", command
    )
    assert match, command
    assert match[1] in {*TASKS, None}, command
    assert match[2] in {*GROUPS, None}, command


def test_citation_has_version_and_license_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == ablation.__version__ == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_hooks_are_tasks_of_this_repository() -> None:
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        check_command(hook["entry"])


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflow_calls_what_is_called_by_hand(file) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["strategy"]["matrix"]["python"][0] == PROJECT["requires-python"].removeprefix(">=")
        commands = [step["run"] for step in job["steps"] if "run" in step]
        assert commands
        for command in commands:
            check_command(command)


def test_workflows_check_each_change_and_run_the_slow_tests_weekly() -> None:
    events = {file.stem: yaml.safe_load(file.read_text())[True] for file in WORKFLOWS}  # `on` is true in YAML 1.1
    assert "pull_request" in events["check"]
    assert "schedule" in events["weekly"]
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "weekly.yml").read_text()


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.md")), ids=lambda file: file.stem)
def test_template_has_a_few_lines(file) -> None:
    assert len(file.read_text().splitlines()) <= 15


def test_every_dependency_has_a_reason_a_license_and_a_use() -> None:
    rows = re.findall(r"^\| ([\w-]+) \| (.+?) \| (.+?) \| (.*?) ?\|$", section("Dependencies"), flags=re.M)
    reasons = {name: (reason, license) for name, reason, license, _ in rows if name not in ("package", "---")}
    names = [re.split(r"[<>=;\[ ]", requirement)[0] for requirement in PROJECT["dependencies"]]
    assert sorted(reasons) == sorted(name.lower() if name != "PyYAML" else name for name in names)
    sources = "\n".join(file.read_text() for file in (ROOT / "ablation").rglob("*.py"))
    modules = {"PyYAML": "yaml", "vl-convert-python": "vl_convert", "wandb-workspaces": "wandb_workspaces"}
    for name in names:
        assert re.search(rf"^ *(import|from) {modules.get(name, name)}\b", sources, flags=re.M), name


def test_only_bounds_with_a_reason_exclude_a_minor_version() -> None:
    explained = set(re.findall(r"^\| ([\w-]+) \|.*\| [^|]*\w[^|]* \|$", section("Dependencies"), flags=re.M))
    for requirement in PROJECT["dependencies"]:
        name, bounds = re.match(r"([\w-]+)(.*)", requirement).groups()
        upper = re.search(r"<(\d+)(\.\d+)?$", bounds)
        assert upper, f"{name} has no upper bound"
        assert upper[2] is None or name in explained, name


def test_schema_numbers_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| .+? \| (.+?) \|$", section("Versions"), flags=re.M)
    listed = {(file, number) for number, where in rows for file in re.findall(r"`([\w/.]+)`", where)}
    texts = {str(file.relative_to(ROOT)): file.read_text() for file in (ROOT / "ablation").rglob("*.py")}
    found = ((file, number) for file in texts for number in re.findall(r"^\w*SCHEMA = (\d+)$", texts[file], flags=re.M))
    assert set(found) == listed


def section(heading: str) -> str:
    """The text of a section of CONTRIBUTING.md."""
    return (ROOT / "CONTRIBUTING.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
