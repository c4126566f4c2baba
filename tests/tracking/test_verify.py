"""What arrived in W&B is read back: each way of losing something is one line that says what to do."""

from types import SimpleNamespace

import pytest
from support.mirrored import OFFLINE, ONLINE, Runs, append, conclude, logged, rows
from support.wandb_stub import HISTORY, Server

from ablation.tracking import verify as verification
from ablation.tracking.mode import Mode
from ablation.tracking.session import TrackedRun
from ablation.tracking.verify import Verification, verify


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "PAUSES", (0.0,))


def trained(runs: Runs, number: int = 1) -> TrackedRun:
    run = runs.add(number)
    append(run, rows(20))
    conclude(run)
    return run


def verified(runs: Runs, mode: Mode, entity: str | None = None) -> Verification:
    return verify(runs.tracked, runs.root, "ablation", mode, runs.reports.append, entity)


def test_complete_runs_are_counted_online_and_offline(runs: Runs, server: Server) -> None:
    trained(runs, 1), trained(runs, 2)
    runs.add(3)  # has not ended
    runs.replay(OFFLINE)
    assert verified(runs, OFFLINE) == Verification(complete=2)
    runs.replay(ONLINE)
    assert verified(runs, ONLINE) == Verification(complete=2)
    assert verified(runs, OFFLINE) == Verification(unchecked=2)
    assert verified(runs, Mode("disabled")) == Verification()
    assert runs.reports == []


def test_rows_that_the_server_lost_are_counted_and_sent_by_the_next_replay(runs: Runs, server: Server) -> None:
    run, other = trained(runs, 1), trained(runs, 2)
    server.drop_from = 12
    runs.replay(ONLINE)
    found = verified(runs, ONLINE)
    assert [*found.incomplete] == [run.id, other.id]
    assert found.incomplete[run.id].startswith("12 of 20 rows arrived; its summary lacks status, reason, ")
    assert runs.reports[0].startswith(f"W&B: {run.name} (00000000): 12 of 20 rows arrived; ")
    assert "2 are not: `ablate sync` again sends what is missing" in found.sentence
    server.drop_from = None
    runs.replay(ONLINE)
    assert verified(runs, ONLINE) == Verification(complete=2)
    assert logged(server.runs[run.id].history) == rows(20)


def test_rows_that_the_server_lost_between_others_are_sent_once_the_run_is_deleted_there(
    runs: Runs, server: Server
) -> None:
    run, _ = trained(runs, 1), trained(runs, 2)
    runs.replay(ONLINE)
    lines = server.runs[run.id].files[HISTORY]
    for number in (3, 4, 5):
        del lines[number]
    found = verified(runs, ONLINE)
    assert found.incomplete == {run.id: "17 of 20 rows arrived"} and (found.complete, found.holes) == (1, 1)
    assert found.sentence.endswith("1 lack rows that W&B no longer takes: delete them there, then `ablate sync`")
    runs.replay(ONLINE)
    assert verified(runs, ONLINE).holes == 1, "as the sentence says"
    del server.runs[run.id]
    runs.replay(ONLINE)
    assert verified(runs, ONLINE) == Verification(complete=2)


def test_summary_that_is_not_that_of_the_run_is_named(runs: Runs, server: Server) -> None:
    run = trained(runs)
    runs.replay(ONLINE)
    server.runs[run.id].files["wandb-summary.json"] = {0: '{"status": "completed", "reason": "", "final_loss": 9.0}'}
    lacks = verified(runs, ONLINE).incomplete[run.id]
    assert lacks.startswith("its summary lacks best_loss, ") and " and " in lacks
    assert lacks.endswith("; its summary has other values of final_loss")
    runs.replay(ONLINE)
    assert verified(runs, ONLINE) == Verification(complete=1)
    assert logged(server.runs[run.id].history) == rows(20), "no row is sent twice"


def test_run_that_the_server_does_not_have_is_sent_again(runs: Runs, server: Server) -> None:
    run = trained(runs)
    runs.replay(ONLINE)
    del server.runs[run.id]
    found = verified(runs, ONLINE)
    assert found.incomplete == {run.id: "nothing of it arrived"}
    runs.replay(ONLINE)
    assert verified(runs, ONLINE) == Verification(complete=1)


def test_offline_record_that_lost_its_end_is_written_again(runs: Runs) -> None:
    run = trained(runs)
    runs.replay(OFFLINE)
    (file,) = runs.files()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    lacks = verified(runs, OFFLINE).incomplete[run.id]
    assert "of 20 rows arrived" in lacks and "its summary lacks" in lacks
    runs.replay(OFFLINE)
    assert verified(runs, OFFLINE) == Verification(complete=1)
    assert logged(runs.record().history) == rows(20)


def test_damaged_offline_record_is_one_line_and_written_again_and_the_others_are_checked(runs: Runs) -> None:
    run, other = trained(runs, 1), trained(runs, 2)
    runs.replay(OFFLINE)
    file = next(file for file in runs.files() if run.id in file.name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    found = verified(runs, OFFLINE)
    assert found.complete == 1 and [*found.incomplete] == [run.id]
    assert found.incomplete[run.id].startswith("0 of 20 rows arrived") and len(runs.reports) == 1
    assert not (run.directory / "mirror.json").exists() and (other.directory / "mirror.json").exists()
    runs.replay(OFFLINE)
    assert verified(runs, OFFLINE) == Verification(complete=2)


def test_run_whose_result_is_damaged_is_one_line_and_the_others_are_checked(runs: Runs) -> None:
    run, _ = trained(runs, 1), trained(runs, 2)
    runs.replay(OFFLINE)
    (run.directory / "result.json").write_text("{")
    found = verified(runs, OFFLINE)
    assert found.complete == 1 and [*found.incomplete] == [run.id]
    (line,) = runs.reports
    assert line.startswith(f"W&B: {run.name} (00000000): ") and "result.json" in line


def test_only_a_server_is_waited_for(runs: Runs, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(verification, "PAUSES", (0.0, 1.0, 4.0))
    monkeypatch.setattr(verification, "time", SimpleNamespace(sleep=waited.append))
    run = trained(runs)
    runs.replay(OFFLINE)
    (file,) = runs.files()
    file.unlink()
    assert verified(runs, OFFLINE).incomplete == {run.id: "nothing of it arrived"}
    assert sum(waited) == 0
    runs.replay(ONLINE)
    del server.runs[run.id]
    assert verified(runs, ONLINE).incomplete == {run.id: "nothing of it arrived"}
    assert sum(waited) == 5


def test_resumed_run_is_one_run_with_every_row_once(runs: Runs, server: Server) -> None:
    run = runs.add()
    append(run, rows(12))
    runs.replay(ONLINE)  # the driver was stopped
    append(run, rows(8, 12))
    conclude(run)
    runs.replay(ONLINE)
    assert list(server.runs) == [run.id]
    assert verified(runs, ONLINE) == Verification(complete=1)
    assert logged(server.runs[run.id].history) == rows(20)


FAILURES = {
    "a refused key": ("key", "another", "`wandb login --relogin` saves another"),
    "a wrong entity": ("entities", set(), "there is no such entity or project: see tracking.entity"),
    "a rate limit": ("too_many", 10**6, "the server limits requests: wait before `ablate sync`"),
    "a dead server": ("dead", True, "the server does not answer, or limits requests: try `ablate sync` later"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_failure_is_one_line_with_what_to_do_and_a_later_sync_is_complete(
    runs: Runs, server: Server, failure: str
) -> None:
    name, value, what_to_do = FAILURES[failure]
    working = getattr(server, name)
    trained(runs, 1), trained(runs, 2)
    mirrored = runs.mirror(ONLINE)
    mirrored._session._entity = "me"  # which is sent with each request
    setattr(server, name, value)
    mirrored.start()
    mirrored.close()
    assert len(runs.reports) == 1
    assert what_to_do in runs.reports[0] and "\n" not in runs.reports[0]
    assert all(run.directory.joinpath("result.json").exists() for run in runs.tracked)
    runs.reports.clear()
    found = verified(runs, ONLINE, "me")
    assert len(found.incomplete) == 2, "an offline copy is not what was asked for"
    assert runs.reports and all("\n" not in line for line in runs.reports)
    setattr(server, name, working)
    runs.replay(ONLINE)
    assert verified(runs, ONLINE, "me") == Verification(complete=2)
    assert [logged(server.runs[run.id].history) for run in runs.tracked] == [rows(20), rows(20)]


def test_nothing_recommends_the_upload_that_confirms_what_did_not_happen(runs: Runs) -> None:
    trained(runs)
    summary = runs.replay(OFFLINE).summary()
    assert "wandb sync" not in summary and "`ablate sync GRID`" in summary
