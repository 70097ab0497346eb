"""Each gate of the verdict, on a case that passes and one that must fail."""

import dataclasses

import numpy as np
import pytest

from jsbi.correct import Fault
from jsbi.diagnose import compare, judge
from jsbi.posterior import Posterior

GOOD_FIT = {"cstat": 103.0, "expected": 100.0, "sd": 14.0}


@pytest.fixture
def posterior():
    values = np.random.default_rng(0).normal(size=(2000, 2))
    return Posterior(
        names=("a", "b"),
        z=values,
        values=values,
        log_weight=np.full(2000, -np.log(2000)),
        log_likelihood=np.zeros(2000),
        effective_draws=1500.0,
        method="mixture",
        pareto_k=0.2,
    )


def test_good_draws_and_a_good_fit_are_trusted_without_a_reason(posterior):
    assert judge(posterior, enough=1000.0, **GOOD_FIT) == ("trusted", ())


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({"pareto_k": 0.6}, "usable", "Pareto k is 0.60"),
        ({"pareto_k": 0.71}, "not trusted", "Pareto k is 0.71"),
        ({"pareto_k": np.nan}, "not trusted", "Pareto k is nan"),
        ({"effective_draws": 900.0}, "usable", "900 effective draws where 1,000"),
        ({"effective_draws": 399.0}, "not trusted", "Only 399 effective draws"),
        ({"r_hat": 1.02}, "usable", "R-hat is 1.020"),
        ({"r_hat": 1.2}, "not trusted", "R-hat is 1.200"),
        ({"r_hat": 1.001, "pareto_k": np.nan}, "trusted", None),
        ({"log_evidence_error": 0.4}, "trusted", None),
        ({"log_evidence_error": 0.6}, "usable", "ln Z is known to 0.60 only"),
        ({"log_evidence_error": 2.1}, "not trusted", "ln Z is known to 2.10 only"),
    ],
)
def test_poor_draws_are_named(posterior, change, verdict, reason):
    changed = dataclasses.replace(posterior, **change)
    found, reasons = judge(changed, enough=1000.0, **GOOD_FIT)
    assert found == verdict
    assert (reasons == ()) if reason is None else (reason in reasons[0])


@pytest.mark.parametrize(
    ("cstat", "verdict", "side"),
    [
        (128.0, "trusted", None),
        (149.0, "usable", "worse"),
        (175.0, "not trusted", "worse"),
        (51.0, "usable", "better"),
        (20.0, "not trusted", "better"),
    ],
)
def test_a_misfit_is_named(posterior, cstat, verdict, side):
    fit = GOOD_FIT | {"cstat": cstat}
    found, reasons = judge(posterior, enough=1000.0, **fit)
    assert found == verdict
    assert (reasons == ()) if side is None else (f"deviations {side}" in reasons[0])


def test_a_doubt_of_the_rung_makes_the_result_usable_at_most(posterior):
    found, reasons = judge(posterior, enough=1000.0, notes=("A mode.",), **GOOD_FIT)
    assert (found, reasons) == ("usable", ("A mode.",))


def test_a_grave_doubt_makes_the_result_not_trusted(posterior):
    fault = Fault("Half of it.")
    found, reasons = judge(posterior, enough=1000.0, notes=(fault,), **GOOD_FIT)
    assert (found, reasons) == ("not trusted", ("Half of it.",))


@pytest.mark.parametrize("method", ["smc", "nested"])
def test_populations_have_no_weights_to_judge(posterior, method):
    changed = dataclasses.replace(posterior, method=method, pareto_k=np.nan)
    assert judge(changed, enough=1000.0, **GOOD_FIT)[0] == "trusted"
    weighted = dataclasses.replace(changed, method="mixture")
    assert judge(weighted, enough=1000.0, **GOOD_FIT)[0] == "not trusted"


def test_the_worst_finding_decides_and_all_are_told(posterior):
    changed = dataclasses.replace(posterior, pareto_k=0.6, effective_draws=100.0)
    found, reasons = judge(changed, enough=1000.0, **GOOD_FIT)
    assert found == "not trusted"
    assert len(reasons) == 2


def test_comparison_states_shift_and_ratio(posterior):
    shifted = dataclasses.replace(posterior, values=2 * posterior.values + 1)
    row = compare(shifted, posterior, {"a": 0.0, "b": 0.0}).splitlines()[1].split()
    mean, sd = posterior.mean()[0], posterior.sd()[0]
    assert f"{(mean + 1) / sd:.3f}" in row
    assert "2.000" in row


def test_only_the_same_parameters_are_compared(posterior):
    other = dataclasses.replace(posterior, names=("a", "c"))
    with pytest.raises(ValueError, match="same parameters"):
        compare(posterior, other)
