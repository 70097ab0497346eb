import importlib
import math
import subprocess
import sys

import numpy as np
import pytest

import jsbi.plot


def head(figure):
    return [text.get_text() for text in figure.subfigs[0].texts]


def panels(figure):
    return figure.subfigs[1].axes


def test_verdict_and_reasons_head_the_figure(posterior):
    figure = jsbi.plot.diagnostics(posterior)
    title, reasons = head(figure)
    assert title == "Verdict: usable (by mixture)"
    assert reasons.splitlines() == list(posterior.report.reasons)
    figure.draw_without_rendering()


def test_weights_are_drawn_in_order(posterior):
    axes = panels(jsbi.plot.diagnostics(posterior))[0]
    rank, weight = axes.lines[1].get_data()
    assert weight.mean() == pytest.approx(1.0)
    assert (np.diff(weight) <= 0).all()
    assert rank[-1] == posterior.draws
    assert f"{posterior.effective_draws:,.0f} effective of 4,000" in axes.get_title()


def test_statistic_is_drawn_with_its_expectation(posterior):
    axes = panels(jsbi.plot.diagnostics(posterior))[1]
    assert [line.get_xdata()[0] for line in axes.lines] == [30.2, 31.5]
    assert "31.5 in 30 bins, expected 30.2" in axes.get_title()
    assert axes.get_xlabel() == "C statistic"


def test_running_evidence_ends_at_the_evidence(posterior):
    axes = panels(jsbi.plot.diagnostics(posterior))[2]
    assert axes.lines[1].get_ydata()[-1] == pytest.approx(-123.4, abs=1e-6)
    assert axes.get_ylabel() == "ln Z"


def test_chains_have_a_trace(posterior, prior, remake):
    z = posterior.z.copy()
    z[:500, 1] += 0.3  # the parameter that has not mixed
    chain = remake(
        prior,
        z,
        np.zeros(4000),
        pareto_k=math.nan,
        r_hat=1.07,
        method="nuts",
        log_evidence=math.nan,
        report=None,
    )
    figure = jsbi.plot.diagnostics(chain, losses=np.linspace(3.0, 1.0, 250))
    trace, _, means, losses = panels(figure)
    assert head(figure)[0] == "Verdict: not judged (by nuts)"
    assert trace.get_ylabel().startswith("powerlaw.PhoIndex")
    assert "1.07" in means.get_title()
    assert len(means.lines) == 5
    assert losses.get_ylabel() == "Loss"
    figure.draw_without_rendering()


def test_named_losses(posterior):
    figure = jsbi.plot.diagnostics(posterior, losses={"round 1": np.ones(10)})
    texts = panels(figure)[3].get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["round 1"]


def test_worst_weights_are_drawn(posterior, prior, remake):
    log_weight = np.where(np.arange(4000) == 3, 0.0, -np.inf)
    bad = remake(prior, posterior.z, log_weight, pareto_k=math.inf)
    jsbi.plot.diagnostics(bad).draw_without_rendering()


def test_nothing_global_changes(posterior):
    import matplotlib as mpl
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    jsbi.plot.diagnostics(posterior)
    jsbi.plot.corner(posterior)
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("missing", ["matplotlib", "corner"])
def test_import_error_says_what_to_install(missing, monkeypatch):
    for name in list(sys.modules):
        if name == "jsbi.plot" or name.startswith("jsbi.plot."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "jsbi\[plot\]"'):
        importlib.import_module("jsbi.plot")


def test_needs_no_display():
    code = "import jsbi.plot, sys; print('tkinter' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
