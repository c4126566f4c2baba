"""A grid as one file: what is in it, and what is refused of one from somebody else."""

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.archives import Files, read, write
from support.stores import begin_run, everything, finish_grid, finish_run, result

from ablation.errors import InputError, StorageError
from ablation.grid.plan import Plan
from ablation.plugins import Plugin
from ablation.store.archive import INDEX, export_grid
from ablation.store.attempts import commit
from ablation.store.check import Check
from ablation.store.files import read_json, write_json
from ablation.store.lock import HOLDER
from ablation.store.runs import Store
from ablation.store.unpack import Imported, import_grid
from ablation.study.manifest import save_plan


@pytest.fixture
def archive(store: Store, plan: Plan, tmp_path: Path) -> Path:
    """Of a whole grid."""
    finish_grid(store, plan)
    export_grid(store, plan.name, tmp_path / "grid.tar")
    return tmp_path / "grid.tar"


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """Where it is imported."""
    return Store(tmp_path / "other")


def take(store: Store, archive: Path) -> Imported:
    with store.lock():
        return import_grid(store, archive)


def refused(store: Store, archive: Path) -> str:
    """Why an archive is not imported; nothing of it is left."""
    before = everything(store.root)
    with pytest.raises(InputError) as error:
        take(store, archive)
    assert everything(store.root) == before
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_imported_grid_is_what_was_exported(store: Store, archive: Path, plan: Plan, other: Store) -> None:
    imported = take(other, archive)
    assert (imported.imported, imported.present, imported.conflicts, imported.kept_folder) == (4, 0, [], False)
    assert everything(other.root) == everything(store.root)
    assert [end.status for end in other.ends(run.id for run in plan.runs).values()] == ["completed"] * 4
    assert other.to_train(plan.runs) == []
    assert list(Check(other).problems()) == []


def test_export_is_the_same_bytes_every_time(store: Store, archive: Path, plan: Plan, other: Store) -> None:
    first = archive.read_bytes()
    for file in store.root.rglob("*"):
        os.utime(file, (1, 1))
        file.chmod(0o700)
    assert export_grid(store, plan.name, archive).sha256 == hashlib.sha256(first).hexdigest()
    assert archive.read_bytes() == first
    take(other, archive)
    export_grid(other, plan.name, archive)
    assert archive.read_bytes() == first


def test_export_is_a_tar_of_regular_files(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    assert members[0].name == INDEX
    assert [member.name for member in members[1:]] == sorted(member.name for member in members[1:])
    assert {(member.type, member.mode, member.mtime, member.uid, member.uname) for member in members} == {
        (tarfile.REGTYPE, 0o644, 0, 0, "")
    }


def test_export_leaves_out_what_is_of_this_machine(store: Store, archive: Path, plan: Plan) -> None:
    (store.directory(plan.runs[0].id) / "mirror.json").write_text("{}")
    (store.directory(plan.runs[0].id) / ".x.tmp").touch()
    (store.directory(plan.runs[0].id) / "checkpoint").mkdir()
    (store.directory(plan.runs[0].id) / "checkpoint" / "step-3.pt").touch()
    (store.root / plan.name / "report.html").touch()
    before = archive.read_bytes()
    export_grid(store, plan.name, archive)
    assert archive.read_bytes() == before


def test_export_says_what_is_not_trained(store: Store, plan: Plan, tmp_path: Path) -> None:
    save_plan(plan, store)
    finish_run(store, plan.runs[0])
    begin_run(store, plan.runs[1])
    exported = export_grid(store, plan.name, tmp_path / "grid.tar")
    assert (exported.runs, exported.not_trained) == (1, 3)
    assert take(Store(tmp_path / "other"), tmp_path / "grid.tar").imported == 1


def test_export_has_the_runs_that_others_start_from(store: Store, plan: Plan, tmp_path: Path, other: Store) -> None:
    child, parent = plan.cells[0].runs[0], plan.cells[1].runs[0]
    save_plan(replace(plan, cells=plan.cells[:1]), store)
    finish_run(store, parent)
    attempt = begin_run(store, child)
    record = read_json(attempt / "run.json")
    write_json(attempt / "run.json", {**record, "config": {**record["config"], "start_from": parent.id}})
    commit(attempt, "result.json", result())
    assert export_grid(store, plan.name, tmp_path / "grid.tar").runs == 2
    assert take(other, tmp_path / "grid.tar").imported == 2


def test_export_has_failed_runs_and_plugins(store: Store, plan: Plan, tmp_path: Path, other: Store) -> None:
    save_plan(plan, store)
    source = b"# nothing\n"
    store.keep_plugins([Plugin("/elsewhere/plug.py", hashlib.sha256(source).hexdigest(), source)], plan.name)
    commit(begin_run(store, plan.runs[0]), "failure.json", {"kind": "exception", "reason": "x"})
    store.conclude(plan.runs[0].id)
    export_grid(store, plan.name, tmp_path / "grid.tar")
    take(other, tmp_path / "grid.tar")
    assert other.status(plan.runs[0].id) == "failed"
    assert everything(other.root / plan.name) == everything(store.root / plan.name)


def test_export_of_a_damaged_run_writes_nothing(store: Store, archive: Path, plan: Plan, tmp_path: Path) -> None:
    (store.directory(plan.runs[0].id) / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"weights\.safetensors.*check --repair"):
        export_grid(store, plan.name, tmp_path / "second.tar")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["grid.tar", "runs"]


@pytest.mark.parametrize("name", ["absent", "store", "..", "../runs/small", "wandb", ""])
def test_export_of_no_grid_is_one_line(store: Store, archive: Path, name: str) -> None:
    with pytest.raises(InputError):
        export_grid(store, name, archive)


def test_import_keeps_what_is_there(archive: Path, plan: Plan, other: Store) -> None:
    first, second, third, _ = plan.runs
    finish_run(other, first, 1.0)
    finish_run(other, second, 9.0)
    (finish_run(other, third) / "metrics.jsonl").write_text("{}\n")
    before = {run.id: everything(other.directory(run.id)) for run in (first, second)}
    imported = take(other, archive)
    assert (imported.imported, imported.present) == (2, 1)
    assert {run.id: everything(other.directory(run.id)) for run in (first, second)} == before
    (conflict,) = imported.conflicts
    assert conflict.name.startswith(second.id)
    assert read_json(conflict / "result.json")["quality"]["final"] == {"loss": 1.125}
    assert [place.name for place in imported.set_aside] == [f"{third.id}-1"]
    assert list(Check(other).problems()) == []


def test_import_of_a_grid_that_is_there_keeps_its_manifest(archive: Path, plan: Plan, other: Store) -> None:
    take(other, archive)
    manifest = other.root / plan.name / "manifest.json"
    write_json(manifest, {**read_json(manifest), "settings": ["mine"]})
    before = everything(other.root)
    imported = take(other, archive)
    assert (imported.imported, imported.present, imported.kept_folder) == (0, 4, True)
    assert everything(other.root) == before


def test_import_of_another_grid_of_that_name_is_refused(archive: Path, plan: Plan, other: Store) -> None:
    save_plan(replace(plan, cells=plan.cells[:1]), other)
    (other.root / plan.name / "grid.yaml").write_text("name: small\n")
    assert "another grid is called 'small'" in refused(other, archive)


def test_import_completes_a_folder_without_a_manifest(archive: Path, plan: Plan, other: Store) -> None:
    (other.root / plan.name).mkdir(parents=True)
    (other.root / plan.name / "looks.jsonl").write_text("{}\n")
    take(other, archive)
    assert (other.root / plan.name / "looks.jsonl").read_text() == "{}\n"
    assert (other.root / plan.name / "manifest.json").exists()


RUN = "store/ab/abababababababababababababababab"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../escape",
        "small/../../escape",
        "small/../small/table.md",
        "small//table.md",
        "./small/table.md",
        "small/report.html",
        "small/evil.py",
        "small/plugins/evil.py",
        "other/table.md",
        "store/ab/cdababababababababababababababab/run.json",
        "store/AB/ABABABABABABABABABABABABABABABAB/run.json",
        f"{RUN}/../x",
        f"{RUN}/.hidden",
        f"{RUN}/mirror.json",
        f"{RUN}/con.txt",
        f"{RUN}/dot.",
        f"{RUN}/a:b",
        f"{RUN}/a\\b",
        f"{RUN}/a\nb",
        f"{RUN}/ä",
        f"{RUN}/a/b/c/d",
        RUN,
        f"{RUN}/",
        "store/attempts/x/run.json",
        ".lock",
        "wandb/x",
    ],
)
def test_import_refuses_every_unexpected_path(archive: Path, other: Store, path: str) -> None:
    write(archive, {**read(archive), path: b"x"})
    assert "is not a file of a grid or a run" in refused(other, archive)
    assert not (archive.parent / "escape").exists()


@pytest.mark.parametrize("grid", ["..", "store", "Store", "wandb", "a/b", "", ".hidden", "nul", "x.", "-x", 3, None])
def test_import_refuses_names_that_no_grid_has(archive: Path, other: Store, grid: Any) -> None:
    files = read(archive)
    files[INDEX] = json.dumps({**json.loads(files[INDEX]), "grid": grid}).encode()
    write(archive, files)
    assert "is not the name of a grid" in refused(other, archive)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_import_refuses_all_but_regular_files(archive: Path, other: Store, kind: bytes) -> None:
    files = read(archive)
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            if name.endswith("grid.yaml"):
                member.type, member.linkname = kind, "/etc/passwd"
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    assert "is not a regular file" in refused(other, archive)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_import_refuses_extended_headers(archive: Path, other: Store, form: int) -> None:
    files = read(archive)
    with tarfile.open(archive, "w", format=form) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name if not name.endswith("grid.yaml") else f"small/{'x' * 300}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    refused(other, archive)


def test_import_refuses_compressed_and_other_files(archive: Path, other: Store, tmp_path: Path) -> None:
    for mode in ("w:gz", "w:xz"):
        with tarfile.open(tmp_path / "small.tgz", mode) as tar:  # type: ignore[call-overload]
            tar.add(archive, "grid.tar")
        refused(other, tmp_path / "small.tgz")
    for content in (b"", b"\0" * 512, b"\0" * 10240, b"x" * 10000):
        archive.write_bytes(content)
        refused(other, archive)
    refused(other, tmp_path / "absent")
    refused(other, tmp_path)


def test_import_refuses_every_truncated_archive(archive: Path, other: Store) -> None:
    content = archive.read_bytes()
    for size in range(0, len(content) - 1024, 3000):
        archive.write_bytes(content[:size])
        refused(other, archive)


def test_import_notices_every_changed_byte(archive: Path, other: Store) -> None:
    content = archive.read_bytes()
    with tarfile.open(archive) as tar:
        used = [place for member in tar for place in range(member.offset_data, member.offset_data + member.size)]
    random_numbers = random.Random(0)
    for place in random_numbers.sample(used, 30):
        archive.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        refused(other, archive)


@pytest.mark.parametrize(
    "index",
    [
        None,
        [],
        {},
        {"schema": 2, "grid": "small", "files": {}},
        {"schema": 1, "grid": "small", "files": {}},
        {"schema": 1, "grid": "small", "files": []},
        {"schema": 1, "grid": "small", "files": {"small/manifest.json": None}},
        {"schema": 1, "grid": "small", "files": {"small/manifest.json": {"bytes": -1, "sha256": ""}}},
    ],
)
def test_import_refuses_malformed_indices(archive: Path, other: Store, index: Any) -> None:
    write(archive, read(archive), "null" if index is None else index)
    refused(other, archive)


def test_import_refuses_what_is_listed_and_missing(archive: Path, other: Store) -> None:
    files = read(archive)
    index = json.loads(files[INDEX])
    name = max(path for path in files if path.endswith("weights.safetensors"))
    write(archive, {path: content for path, content in files.items() if path != name}, index)
    assert "is missing" in refused(other, archive)
    write(archive, {**files, "small/table.csv": b""}, index)
    assert "not in it as its index says" in refused(other, archive)


def test_import_refuses_names_that_differ_in_case_only(archive: Path, other: Store, plan: Plan) -> None:
    run = f"store/{plan.runs[0].id[:2]}/{plan.runs[0].id}"
    write(archive, {**read(archive), f"{run}/Log.txt": b"x"})
    assert "two files of one name" in refused(other, archive)
    write(archive, {**read(archive), f"{run}/log.txt/x": b"x"})
    assert "two files of one name" in refused(other, archive)


def changed(files: Files, ending: str, change: Callable[[Any], Any]) -> None:
    name = min(path for path in files if path.endswith(ending))
    files[name] = json.dumps(change(json.loads(files[name]))).encode()


@pytest.mark.parametrize(
    ("ending", "change"),
    [
        ("result.json", lambda result: {**result, "quality": {"final": {"loss": 0.0}}}),
        ("result.json", lambda result: {**result, "id": "0" * 32}),
        ("run.json", lambda run: {**run, "seed": 9}),
        ("small/manifest.json", lambda manifest: {**manifest, "grid": "other"}),
        ("small/manifest.json", lambda manifest: {**manifest, "cells": [{"runs": None}]}),
        ("small/manifest.json", lambda manifest: {**manifest, "cells": manifest["cells"][:1]}),
        ("small/manifest.json", lambda manifest: None),
    ],
)
def test_import_refuses_runs_and_grids_that_were_edited(
    archive: Path, other: Store, ending: str, change: Callable[[Any], Any]
) -> None:
    files = read(archive)
    changed(files, ending, change)
    write(archive, files)
    refused(other, archive)


@pytest.mark.parametrize("place", ["other/small/plugins/x.py", "runs/small/plugins/x.py", "{root}/small/plugins/x.py"])
def test_import_refuses_plugins_that_come_with_it(
    store: Store, plan: Plan, tmp_path: Path, other: Store, place: str
) -> None:
    save_plan(plan, store)
    attempt = begin_run(store, plan.runs[0])
    record = read_json(attempt / "run.json")
    plugin = {"file": place.format(root=other.root), "sha256": "0" * 64, "copy": "x"}
    write_json(attempt / "run.json", {**record, "plugins": [plugin]})
    commit(attempt, "result.json", result())
    export_grid(store, plan.name, tmp_path / "grid.tar")
    assert "no place of a plugin" in refused(other, tmp_path / "grid.tar")


def test_import_refuses_plugins_of_another_name(archive: Path, other: Store) -> None:
    write(archive, {**read(archive), f"small/plugins/{'0' * 64}.py": b"x"})
    assert "not the file that its name says" in refused(other, archive)


KILLED = """
import os, sys
from pathlib import Path
from ablation.store.archive import export_grid
from ablation.store.runs import Store
from ablation.store.unpack import import_grid
count, last = 0, int(sys.argv[4])
def stop(event, arguments):
    global count
    if event in ("os.rename", "os.mkdir") or (event == "open" and arguments[2] & os.O_CREAT):
        count += 1
        if count > last:
            os._exit(9)
store, archive = Store(Path(sys.argv[2])), Path(sys.argv[3])
with store.lock():
    sys.addaudithook(stop)
    export_grid(store, "small", archive) if sys.argv[1] == "export" else import_grid(store, archive)
    os._exit(0)
"""


def killed(what: str, store: Store, archive: Path, after: int) -> bool:
    """Whether the process was killed before it was done: after so many changes to the disk."""
    words = [sys.executable, "-c", KILLED, what, str(store.root), str(archive), str(after)]
    code = subprocess.run(words, env=os.environ, check=False).returncode
    assert code in (0, 9)
    return code == 9


@pytest.mark.slow
def test_import_that_was_killed_leaves_nothing_half(store: Store, archive: Path, plan: Plan, other: Store) -> None:
    after, whole = 0, {run.id: everything(store.directory(run.id)) for run in plan.runs}
    while killed("import", other, archive, after):
        for run_id, files in whole.items():
            assert not other.directory(run_id).exists() or everything(other.directory(run_id)) == files
        assert not (other.root / plan.name).exists() or len(list((other.root / plan.name).iterdir())) == 2
        assert {problem.kind for problem in Check(other).problems()} <= {"unfinished"}
        after += 4
    assert after > 30
    left = {path: text for path, text in everything(other.root).items() if ".tmp" not in path and path != HOLDER}
    assert left == everything(store.root)


def test_export_that_was_killed_leaves_no_half_file(store: Store, archive: Path) -> None:
    before, after = archive.read_bytes(), 0
    while killed("export", store, archive, after):
        assert archive.read_bytes() == before
        after += 1
    assert after > 1
    assert archive.read_bytes() == before


def test_failed_run_of_an_archive_replaces_nothing_that_was_begun(
    store: Store, plan: Plan, tmp_path: Path, other: Store
) -> None:
    save_plan(plan, store)
    for run in plan.runs[:2]:
        commit(begin_run(store, run), "failure.json", {"kind": "oom", "reason": "x"})
    export_grid(store, plan.name, tmp_path / "grid.tar")
    attempt = begin_run(other, plan.runs[0])
    imported = take(other, tmp_path / "grid.tar")
    assert (imported.imported, imported.present) == (1, 1)
    assert attempt.exists() and other.status(plan.runs[1].id) == "oom"


def test_finished_run_of_an_archive_replaces_a_failed_one(archive: Path, plan: Plan, other: Store) -> None:
    commit(begin_run(other, plan.runs[0]), "failure.json", {"kind": "oom", "reason": "x"})
    imported = take(other, archive)
    assert (imported.imported, imported.conflicts) == (4, [])
    assert other.status(plan.runs[0].id) == "completed"
