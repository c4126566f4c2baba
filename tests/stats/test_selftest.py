"""The statistics hold on grids whose truth is known, and the checks can fail."""

import json
import sys
from dataclasses import asdict

import numpy
import pytest

from ablation import cli
from ablation.compare import selftest as compare_selftest
from ablation.report import labels
from ablation.stats import selftest
from ablation.stats.family import Family
from ablation.stats.family import judge as judge_family
from ablation.stats.selftest import claims, divergences, margins, sequential, skewed_arms, tables
from ablation.stats.selftest.base import GRIDS, Check, at_least, at_most, caught, no_more_than_five, slack
from ablation.stats.selftest.factorials import DESIGNS, Factorial, factorial_tables
from ablation.stats.selftest.grids import HALF_10, KINDS, differences, noisy, runs
from ablation.stats.selftest.sequential import schedule, simulate
from ablation.stats.shared_variance import prior_of


def test_all_quick_checks_pass():
    found = [*selftest.statistics(quick=True), *compare_selftest.tables_from_runs(quick=True)]
    assert not [check for check in found if not check.passed]
    assert {check.letter for check in found} == set("ABCDEFGHIJKLMN")
    assert len({(check.letter, check.what) for check in found}) == len(found)
    assert json.loads(json.dumps([asdict(check) for check in found]))[0]["passed"] is True


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("arms", [1, 2, 5, 12])
def test_form_for_many_grids_agrees_with_engine_label_for_label(arms, shared):
    noise = numpy.random.default_rng(arms)
    seen = set()
    for place in range(100):
        seeds, margin = int(noise.integers(3, 13)), float(noise.uniform(0.3, 4))
        alpha = float(noise.choice([0.01, 0.05]))
        spread = noise.choice([1.0, 1.0, 1.0, 5.0], (arms, 1))
        found = spread * noise.normal(0, 1, (arms, seeds)) + noise.choice([-3, -1, 0, 0, 1, 6], (arms, 1))
        waits = noise.integers(0, 4, arms) if place % 3 == 0 else [0] * arms  # arms at an earlier look, or before any
        others = [float(p) for p in noise.uniform(0, 0.1, place % 3)] + [None] * (place % 2)
        rows = [row[: max(0, seeds - int(wait))] for row, wait in zip(found.tolist(), waits, strict=True)]
        table = numpy.array([[[*row, *[numpy.nan] * (seeds - len(row))] for row in rows]])
        family = judge_family(tables.one_by_one(rows, margin, [alpha] * arms, shared), others)
        ps = numpy.array([[1.0 if p is None else p for p in others]])
        judged = tables.judge(tables.tests(table, shared), margin, alpha, ps)
        verdicts = family.verdicts
        assert judged.labels[0].tolist() == [verdict.label for verdict in verdicts]
        assert judged.exceeds[0].tolist() == [verdict.exceeds_margin for verdict in verdicts]
        assert judged.leaning[0].tolist() == [verdict.trend is not None for verdict in verdicts]
        assert judged.others[0].tolist() == [p is not None and p < alpha for p in family.p_holm]
        seen |= {verdict.label for verdict in verdicts}
    assert seen == {"better", "worse", "equivalent", "inconclusive"}


def test_tables_with_unlike_cells_missing_share_like_one_alone():
    table = differences(KINDS[0], 40, 8, 5, 0.5, "test")
    table[numpy.random.default_rng(0).random((40, 8)) < 0.3] = numpy.nan
    at_once = tables.tests(table, True)
    alone = [tables.tests(table[place : place + 1], True) for place in range(40)]
    for name in ("mean", "error", "degrees"):
        expected = numpy.concatenate([getattr(one, name) for one in alone])
        assert numpy.allclose(getattr(at_once, name), expected, rtol=1e-12, equal_nan=True)


def test_holm_leaves_out_what_is_not_in_the_family():
    found = tables.holm(numpy.array([[0.01, numpy.nan, 0.03, 0.02]]))
    assert found[0, [0, 2, 3]] == pytest.approx([0.03, 0.04, 0.04]) and numpy.isnan(found[0, 1])


def test_noise_of_every_kind_is_where_its_name_says():
    for kind in KINDS:
        spread = runs(kind, 2000, 4, 5, 0.5, "test").std((0, 2))
        larger = spread > 2 * numpy.median(spread)
        expected = numpy.zeros(5, dtype=bool)
        expected[noisy(kind, 4)] = True
        if kind == HALF_10:
            assert spread[expected] == pytest.approx([10.0] * 2, rel=0.05)
        assert (larger == expected).all()


@pytest.mark.parametrize("levels", DESIGNS)
def test_tables_say_depends_and_set_cells_apart_where_simulated(levels):
    design, open_words = Factorial(levels), {"inconclusive", "leaning better", "leaning worse", "equivalent"}
    said, apart = set(), set()
    for table in range(12):
        values = runs(KINDS[0], 1, len(design.cells) - 1, 5, 0.5, "test", table)
        values += 4 * (numpy.random.default_rng(table).random((len(design.cells), 1)) < 0.3)
        judged = tables.judge(tables.together(*design.tests(-values, True)), compare_selftest.MARGIN)
        found = compare_selftest.study(values[0], levels)
        depending = [labels.depends(found, effect) for effect in found.effects]
        assert depending == design.depends(judged)[0].tolist()
        said |= {*depending}
        shown = [labels.verdict(cell.metrics["loss"].verdict).split(maxsplit=1)[1] for cell in found.cells[1:]]
        expected = margins.set_apart(judged)[0, : len(shown)] & (judged.labels[0, : len(shown)] != "equivalent")
        assert [word not in open_words for word in shown] == expected.tolist()
        apart |= {*expected.tolist()}
    assert said == apart == {False, True}


@pytest.mark.parametrize("shared", [False, True])
def test_simulated_sequential_claims_equal_the_schedulers(shared):
    noise = numpy.random.default_rng(0)
    found = noise.normal(0, 1, (60, 6, 12)) + noise.choice([0, 1, 2, 3], (60, 6, 1))
    stops = noise.integers(5, 14, 60).astype(float)
    simulated = simulate(found, stops, shared)
    one_by_one = [schedule(table, stop, shared) for table, stop in zip(found, stops, strict=True)]
    assert one_by_one == list(zip(simulated.different.tolist(), simulated.equivalent.tolist(), strict=True))
    assert len(set(one_by_one)) >= 3


CHECKS = {
    "claims": claims.false_claims, "equivalence": claims.false_equivalence, "margins": margins.exceeded_margins,
    "words": margins.words, "factorials": factorial_tables, "looks": sequential.planned_looks,
    "divergence": divergences.diverged_grids,
}  # fmt: skip


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_engine_without_correction_fails(check, monkeypatch):
    monkeypatch.setattr(tables, "holm", lambda p: numpy.where(numpy.isnan(p), 1.0, p))
    assert not all(found.passed for found in check(500, True))


def test_variances_shared_without_bounds_fail(monkeypatch):
    def unbounded(variances, degrees, correlation):
        center, prior = (numpy.minimum(found, 1e6)[:, None] for found in prior_of(variances, degrees))
        return (prior * center + degrees * variances) / (prior + degrees), prior + degrees

    monkeypatch.setattr(tables, "share", unbounded)
    failed = [found.what for found in claims.false_claims(1000, True) if not found.passed]
    assert any("shared variances, one arm 5x noise" in what for what in failed)
    failed = [found.what for found in claims.coverage(1000, True) if not found.passed]
    assert any("shared variances, one arm 5x noise" in what for what in failed)


def test_effects_in_families_of_their_own_fail(monkeypatch):
    whole = tables.judge

    def by_kind(tests, margin, alpha=0.05, others=None):
        parts = [slice(0, 3), slice(3, 5), slice(5, None)] if tests.mean.shape[1] == 6 else [slice(None)]
        found = [
            whole(tables.Tests(tests.mean[:, part], tests.error[:, part], tests.degrees[:, part]), margin, alpha)
            for part in parts
        ]
        fields = ("mean", "differs", "equivalent", "exceeds", "leaning", "others")
        return tables.Judged(*(numpy.concatenate([getattr(part, name) for part in found], 1) for name in fields))

    monkeypatch.setattr("ablation.stats.selftest.factorials.judge", by_kind)
    failed = [found for found in factorial_tables(2000, True) if not found.passed]
    assert any("2x2" in found.measured and found.letter == "I" for found in failed)


def test_untrained_losses_that_are_compared_fail(monkeypatch):
    monkeypatch.setattr("ablation.compare.effects._Asked.nothing_learned", None)
    found = {check.what: check for check in compare_selftest.tables_from_runs(quick=True)}
    of_all_diverged = found["verdicts on quality in grids in which every run diverged"]
    assert not of_all_diverged.passed and "worse" in of_all_diverged.measured
    monkeypatch.setattr("ablation.compare.cell._nothing_learned", lambda record, baseline: None)
    found = {check.what: check for check in compare_selftest.tables_from_runs(quick=True)}
    assert not found["grids with diverged runs whose tables state what is simulated"].passed


def test_family_that_leaves_out_effects_fails(monkeypatch):
    def two_families(hypotheses, others=()):
        of_cells = judge_family([each for each in hypotheses if each.measure is not None], others)
        of_effects = judge_family([each for each in hypotheses if each.measure is None])
        return Family((*of_cells.verdicts, *of_effects.verdicts), of_cells.p_holm, of_cells.size)

    monkeypatch.setattr("ablation.compare.families.judge", two_families)
    found = {check.what: check for check in compare_selftest.tables_from_runs(quick=True)}
    assert not found["factorials whose tables state what is simulated, effects included"].passed


def test_note_that_never_shows_fails(monkeypatch):
    monkeypatch.setattr(skewed_arms, "far_off", lambda values: None)
    assert [found.passed for found in skewed_arms.limits_of_means(1, True)] == [True, False, True, False, False, True]


def test_control_that_is_not_caught_fails():
    assert caught("A", "rule", {"a": 0.10, "b": 0.07}, GRIDS).passed
    assert not caught("A", "rule", {"a": 0.10, "b": 0.05}, GRIDS).passed
    assert not no_more_than_five("A", "rule", {"a": 0.01, "b": 0.06}, GRIDS).passed


def test_bound_widens_only_by_what_fewer_grids_know_less():
    assert slack(GRIDS) == 0
    assert slack(2000) == pytest.approx(3.25 * (0.05 * 0.95) ** 0.5 * (2000**-0.5 - 20000**-0.5))
    assert at_most("A", "rate", 0.055, 0.055).passed and not at_most("A", "rate", 0.056, 0.055).passed
    assert at_least("C", "rate", 0.95, 0.945).passed and not at_least("C", "rate", 0.94, 0.945).passed


@pytest.mark.parametrize("passed", [True, False])
def test_command_prints_the_checks_and_fails_with_them(passed, monkeypatch, capsys):
    def statistics(quick):
        assert quick
        yield Check("A", "any false claim", "4.10 %", "<= 5.50 %", True)

    def tables_from_runs(quick):
        assert quick
        yield Check("N", "tables", "7 of 8", "8", passed)

    monkeypatch.setattr(selftest, "statistics", statistics)
    monkeypatch.setattr(compare_selftest, "tables_from_runs", tables_from_runs)
    monkeypatch.setattr(sys, "argv", ["ablate", "selftest", "--quick"])
    assert cli.main() == (0 if passed else 1)
    out = capsys.readouterr().out
    assert "any false claim" in out and ("fail" in out) is not passed
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--json"])
    assert cli.main() == (0 if passed else 1)
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is passed and found["checks"][0]["measured"] == "4.10 %"
