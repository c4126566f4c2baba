"""The statistics hold on grids whose truth is known, and the checks can fail."""

import json
import sys
from dataclasses import asdict

import numpy
import pytest

from ablation import cli
from ablation.stats import selftest
from ablation.stats.family import Hypothesis, adjust_family
from ablation.stats.selftest import base
from ablation.stats.selftest.base import GRIDS, Check, at_least, at_most, slack
from ablation.stats.selftest.claims import false_claims, false_equivalence
from ablation.stats.selftest.sequential import schedule, simulate


def test_all_quick_checks_pass():
    found = list(selftest.statistics(quick=True))
    assert not [check for check in found if not check.passed]
    assert {check.letter for check in found} == set("ABCDEFGH")
    assert json.loads(json.dumps([asdict(check) for check in found]))[0]["passed"] is True


@pytest.mark.parametrize("arms", [1, 2, 5, 12])
def test_form_for_many_grids_agrees_with_engine_label_for_label(arms):
    noise = numpy.random.default_rng(arms)
    seen = set()
    for _ in range(100):
        seeds, margin, alpha = (
            int(noise.integers(3, 13)),
            float(noise.uniform(0.3, 4)),
            float(noise.choice([0.01, 0.05])),
        )
        found = noise.normal(0, 1, (1, arms, seeds)) + noise.choice([-3, -1, 0, 0, 1, 6], (1, arms, 1))
        verdicts = adjust_family([Hypothesis(tuple(row), margin, alpha) for row in found[0].tolist()])
        assert base.labels(found, margin, alpha)[0].tolist() == [verdict.label for verdict in verdicts]
        seen |= {verdict.label for verdict in verdicts}
    assert seen == {"better", "worse", "equivalent", "inconclusive"}


def test_simulated_sequential_claims_equal_the_schedulers():
    noise = numpy.random.default_rng(0)
    found = noise.normal(0, 1, (40, 4, 12)) + noise.choice([0, 1, 2, 3], (40, 4, 1))
    stops = noise.integers(5, 14, 40).astype(float)
    claims = simulate(found, stops)
    one_by_one = [schedule(table, stop) for table, stop in zip(found, stops, strict=True)]
    assert one_by_one == list(zip(claims.different.tolist(), claims.equivalent.tolist(), strict=True))
    assert len(set(one_by_one)) == 4


@pytest.mark.parametrize("check", [false_claims, false_equivalence])
def test_engine_without_correction_fails(check, monkeypatch):
    monkeypatch.setattr("ablation.stats.selftest.claims.holm", lambda p: p)
    assert not all(found.passed for found in check(2000, True))


def test_bound_widens_only_by_what_fewer_grids_know_less():
    assert slack(GRIDS) == 0
    assert slack(2000) == pytest.approx(3.25 * (0.05 * 0.95) ** 0.5 * (2000**-0.5 - 20000**-0.5))
    assert at_most("A", "rate", 0.055, 0.055).passed and not at_most("A", "rate", 0.056, 0.055).passed
    assert at_least("C", "rate", 0.95, 0.945).passed and not at_least("C", "rate", 0.94, 0.945).passed


@pytest.mark.parametrize("passed", [True, False])
def test_command_prints_the_checks_and_fails_with_them(passed, monkeypatch, capsys):
    def statistics(quick):
        assert quick
        yield Check("A", "any false claim", "4.10 %", "<= 5.50 %", passed)

    monkeypatch.setattr(selftest, "statistics", statistics)
    monkeypatch.setattr(sys, "argv", ["ablate", "selftest", "--quick"])
    assert cli.main() == (0 if passed else 1)
    out = capsys.readouterr().out
    assert "any false claim" in out and ("pass" if passed else "fail") in out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--json"])
    assert cli.main() == (0 if passed else 1)
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is passed and found["checks"][0]["measured"] == "4.10 %"
