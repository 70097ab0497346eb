"""Host models give the numbers of the function, each once, and no gradients."""

import gc
import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsbi.api import infer, make_target, simulate
from jsbi.correct import Training
from jsbi.demo import make_example
from jsbi.fluxes import flux
from jsbi.instrument import EnergyGrid
from jsbi.model import PowerLaw, TBabs, host_store
from jsbi.model.host import HostModel
from jsbi.simulate import LogUniform, Prior, Uniform


def power_law(edges, index, norm):
    """Of numpy alone, as another code would give it."""
    slope = 1 - index
    return norm * np.diff(edges**slope) / slope


def counts(a, b):
    return np.array([10 + a, 20 + b, 30 + a * b])


def broken(edges, index):
    return np.ones(3)


EDGES = np.geomspace(0.3, 10.0, 101)
ROWS = jnp.asarray([[1.5, 1.0], [2.5, 3.0], [1.5, 1.0], [1.2, 0.5]])


def fails_above(edges, index, norm):
    if index > 5:
        raise RuntimeError("no such index")
    return power_law(edges, index, norm)


def dies_above(edges, index, norm):
    if index > 5:
        os._exit(3)
    return power_law(edges, index, norm)


class Counted:
    """A function that knows how often it was called; workers cannot import it."""

    def __init__(self, scale=1.0, stop=None, error=KeyboardInterrupt):
        self.calls, self.scale = 0, scale
        self.stop, self.error = stop, error

    def __call__(self, edges, index, norm):
        if self.calls == self.stop:
            raise self.error
        self.calls += 1
        return self.scale * power_law(edges, index, norm)


def rows_of(number, start=1.1, stop=2.9):
    return np.column_stack([np.linspace(start, stop, number), np.ones(number)])


def evaluate(model, rows):
    return model.evaluate(rows, EDGES, 100)


def truth_of(rows):
    return np.array([power_law(EDGES, *row) for row in rows.tolist()], np.float32)


def reopened(store, function=power_law):
    """A model that has only the files of a store, as one of a later run."""
    host_store._open.clear()
    return HostModel(function, store=store, progress=False)


def files(store):
    return sorted(store.glob("*/part-*.npz"))


def spectra(model, rows=ROWS, edges=EDGES):
    grid = EnergyGrid(edges)
    return jax.jit(jax.vmap(lambda row: model(index=row[0], norm=row[1])(grid)))(rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_spectra_are_those_of_the_function(workers):
    made = spectra(HostModel(power_law, workers=workers, progress=False))
    truth = [power_law(EDGES, *row) for row in ROWS.tolist()]
    np.testing.assert_allclose(made, truth, rtol=1e-5)


def test_edges_of_narrow_bins_keep_their_digits():
    edges = 7.0 + 5e-4 * np.arange(101)
    made = spectra(HostModel(power_law, progress=False), ROWS[:1], edges)
    np.testing.assert_allclose(made[0], power_law(edges, 1.5, 1.0), rtol=1e-5)


def test_it_is_part_of_the_algebra():
    grid = EnergyGrid(EDGES)
    model = HostModel(power_law, progress=False)
    absorbed = TBabs(0.3) * (model(index=2.0, norm=1.0) + PowerLaw(1.0, 0.1))
    truth = TBabs(0.3) * (PowerLaw(2.0, 1.0) + PowerLaw(1.0, 0.1))
    np.testing.assert_allclose(
        jax.jit(lambda: absorbed(grid))(), truth(grid), rtol=1e-5
    )


def test_no_spectrum_is_made_twice(tmp_path):
    function = Counted()
    first = spectra(HostModel(function, store=tmp_path, progress=False))
    assert function.calls == 3
    again = HostModel(function, store=tmp_path, progress=False)
    np.testing.assert_array_equal(spectra(again), first)
    # One is made again, to see whether the function is the same.
    assert function.calls == 4
    more = jnp.concatenate([ROWS, ROWS + 0.25])
    np.testing.assert_array_equal(spectra(again, more)[:4], first)
    assert function.calls == 7
    # Another grid is another spectrum.
    spectra(again, ROWS, EDGES[:50])
    assert function.calls == 10


def test_a_store_outlives_the_process(tmp_path):
    rows = rows_of(40)
    with HostModel(power_law, store=tmp_path, progress=False) as model:
        made = evaluate(model, rows)
    function = Counted()
    function.__module__, function.__qualname__ = __name__, "power_law"
    np.testing.assert_array_equal(evaluate(reopened(tmp_path, function), rows), made)
    assert function.calls == 1


def test_a_model_that_is_forgotten_writes_what_it_has(tmp_path):
    model = HostModel(power_law, store=tmp_path, progress=False)
    evaluate(model, rows_of(3))
    assert not files(tmp_path)
    del model
    gc.collect()
    assert len(files(tmp_path)) == 1


def test_another_function_has_other_spectra(tmp_path):
    rows = rows_of(3)
    with HostModel(power_law, store=tmp_path, progress=False) as model:
        made = evaluate(model, rows)
    other = evaluate(reopened(tmp_path, Counted(2.0)), rows)
    np.testing.assert_array_equal(other, 2 * made)


def test_a_store_of_another_version_is_refused(tmp_path):
    with HostModel(Counted(), store=tmp_path, progress=False) as model:
        evaluate(model, rows_of(3))
    changed = reopened(tmp_path, Counted(1.001))
    for _ in range(2):
        with pytest.raises(ValueError, match="it gives another one.*Remove the folder"):
            evaluate(changed, rows_of(3))
    # Within the rounding of float32 it is the same.
    evaluate(reopened(tmp_path, Counted(1 + 1e-7)), rows_of(3))


def test_a_folder_that_was_removed_does_not_come_back(tmp_path):
    first = HostModel(Counted(), store=tmp_path, progress=False)
    evaluate(first, rows_of(3))
    first.close()
    evaluate(first, rows_of(5))
    for path in files(tmp_path):
        path.unlink()
        path.parent.rmdir()
    second = HostModel(Counted(2.0), store=tmp_path, progress=False)
    np.testing.assert_allclose(evaluate(second, rows_of(5)), 2 * truth_of(rows_of(5)))


def test_two_models_share_a_store(tmp_path):
    functions = [Counted(), Counted()]
    one, two = (HostModel(f, store=tmp_path, progress=False) for f in functions)
    for number, model in ((1, one), (2, two), (3, one), (4, two)):
        evaluate(model, rows_of(number))
    one.close()
    two.close()
    again = reopened(tmp_path)
    again.function = Counted()
    for number in (1, 2, 3, 4):
        made = evaluate(again, rows_of(number))
        np.testing.assert_array_equal(made, truth_of(rows_of(number)))
    assert again.function.calls == 1


def test_two_processes_that_write_at_once_keep_all(tmp_path):
    # Each has its own view of the folder, as processes have.
    stores = [host_store.SpectrumStore(tmp_path) for _ in range(2)]
    for turn in range(3):
        for number, store in enumerate(stores):
            value = float(10 * turn + number)
            store.add(np.full((1, 2), value), np.full((1, 3), value, np.float32))
        for store in stores:
            store.write()
    last = host_store.SpectrumStore(tmp_path)
    rows = np.array([[v, v] for v in (0.0, 1.0, 10.0, 11.0, 20.0, 21.0)])
    assert last.find(rows).all()
    np.testing.assert_array_equal(last.read(rows)[:, 0], rows[:, 0])


def test_small_files_are_merged_while_others_read_them(tmp_path, monkeypatch):
    monkeypatch.setattr(host_store, "PART", 8)
    before = host_store.SpectrumStore(tmp_path)
    rows = np.column_stack([np.arange(40.0), np.ones(40)])
    for row in rows:
        before.add(row[None], np.full((1, 3), row[0], np.float32))
        before.write()
    assert len(list(tmp_path.glob("part-*"))) == 40
    after = host_store.SpectrumStore(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
    for store in (after, before, host_store.SpectrumStore(tmp_path)):
        np.testing.assert_array_equal(store.read(rows)[:, 0], rows[:, 0])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells")
def test_many_batches_leave_no_file_open(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    model = HostModel(power_law, store=tmp_path, progress=False)
    rows = rows_of(300)
    evaluate(model, rows[:1])
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    try:
        for number in range(300):
            evaluate(model, rows[number : number + 1])
        model.close()
        again = reopened(tmp_path)
        np.testing.assert_array_equal(evaluate(again, rows), truth_of(rows))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(files(tmp_path)) == 2


def test_spectra_are_written_after_some_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr("jsbi.model.host.UNSAVED", 0.0)
    model = HostModel(power_law, store=tmp_path, progress=False)
    evaluate(model, rows_of(2))
    assert sum(len(np.load(path)["values"]) for path in files(tmp_path)) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_made_before_an_error_is_kept(tmp_path, error):
    function = Counted(stop=7, error=error)
    model = HostModel(function, store=tmp_path, progress=False)
    with pytest.raises(error):
        evaluate(model, rows_of(10))
    (part,) = files(tmp_path)
    assert len(np.load(part)["values"]) == 7
    function.stop = None
    np.testing.assert_array_equal(evaluate(model, rows_of(10)), truth_of(rows_of(10)))
    assert function.calls == 10


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "changed"])
def test_a_damaged_file_is_named(tmp_path, damage):
    rows = rows_of(3)
    with HostModel(power_law, store=tmp_path, progress=False) as model:
        evaluate(model, rows)
    (part,) = files(tmp_path)
    whole = part.read_bytes()
    changes = {"truncated": whole[:300], "garbage": b"x" * 300, "empty": b""}
    middle = len(whole) // 2
    changes["changed"] = whole[:middle] + b"no" + whole[middle + 2 :]
    part.write_bytes(changes[damage])
    with pytest.raises(ValueError, match=f"{part.name}.*remove it"):
        evaluate(reopened(tmp_path), rows)
    part.unlink()
    again = evaluate(reopened(tmp_path), rows)
    np.testing.assert_array_equal(again, truth_of(rows))


def test_a_file_that_goes_while_in_use_is_named(tmp_path):
    with HostModel(power_law, store=tmp_path, progress=False) as model:
        evaluate(model, rows_of(3))
        model.close()
        (part,) = files(tmp_path)
        part.unlink()
        with pytest.raises(ValueError, match="some were removed"):
            evaluate(model, rows_of(3))
        assert evaluate(model, rows_of(3)).shape == (3, 100)


@pytest.mark.parametrize("jitted", [False, True])
def test_a_failure_names_its_parameters(jitted):
    model = HostModel(fails_above, progress=False)
    message = "failed at {'index': 7.0, 'norm': 1.0}: RuntimeError: no such index"
    with pytest.raises(RuntimeError, match=message):
        (spectra if jitted else evaluate)(model, np.array([[2.0, 1.0], [7.0, 1.0]]))


def test_a_model_can_be_pickled_when_it_is_open(tmp_path):
    model = HostModel(power_law, store=tmp_path, progress=False)
    made = evaluate(model, rows_of(3))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(evaluate(copy, rows_of(3)), made)


@pytest.mark.parametrize(
    "function",
    [
        lambda edges, **values: edges[1:],
        lambda edges, *values: edges[1:],
        lambda edges, index, **values: edges[1:],
        lambda edges, index, /: edges[1:],
    ],
)
def test_parameters_without_names_are_refused(function):
    with pytest.raises(ValueError, match="each by its name; got \\(edges, "):
        HostModel(function)


@pytest.mark.slow
def test_a_function_of_a_prompt_needs_no_workers(tmp_path):
    script = """
    import numpy as np, jsbi
    def flat(edges, norm):
        return norm * np.diff(edges)
    rows, edges = np.array([[1.0], [2.0]]), np.array([1.0, 2.0])
    model = jsbi.HostModel(flat, store="spectra", progress=False)
    print(model.evaluate(rows, edges, 1).tolist())
    try:
        jsbi.HostModel(flat, workers=2, progress=False).evaluate(rows, edges, 1)
    except ValueError as error:
        print(error)
    """
    done = run("-", input=textwrap.dedent(script), cwd=tmp_path)
    assert not done.stderr
    assert len(files(tmp_path / "spectra")) == 1
    assert "[[1.0], [2.0]]" in done.stdout
    assert "of a notebook, a prompt or standard input" in done.stdout


def run(*arguments, **options):
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        **options,
    )


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, jsbi\n"
        "def flat(edges, norm):\n"
        "    return norm * np.diff(edges)\n"
        "rows, edges = np.array([[1.0], [2.0]]), np.array([1.0, 2.0])\n"
        "model = jsbi.HostModel(flat, workers=1, progress=False)\n"
        "print(model.evaluate(rows, edges, 1))\n"
    )
    done = run(str(script))
    assert done.returncode != 0
    assert "A worker process ended" in done.stderr
    assert "without `if __name__" in done.stderr


@pytest.mark.slow
def test_workers_fail_and_end_in_words(tmp_path):
    rows = rows_of(20)
    with HostModel(fails_above, workers=2, store=tmp_path, progress=False) as model:
        bad = np.concatenate([rows, [[7.0, 1.0]]])
        with pytest.raises(RuntimeError, match="failed at {'index': 7.0.*no such"):
            evaluate(model, bad)
        assert sum(len(np.load(path)["values"]) for path in files(tmp_path)) >= 12
        # The processes are still there, and the model can be pickled with them.
        np.testing.assert_array_equal(evaluate(model, rows), truth_of(rows))
        pickle.dumps(model)
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_pool_that_broke_is_replaced():
    model = HostModel(dies_above, workers=1, progress=False)
    with pytest.raises(RuntimeError, match="A worker process ended.*memory"):
        evaluate(model, np.array([[2.0, 1.0], [7.0, 1.0]]))
    np.testing.assert_array_equal(evaluate(model, rows_of(2)), truth_of(rows_of(2)))
    del model
    gc.collect()
    deadline = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not multiprocessing.active_children()


def test_each_redshift_has_its_own_grid():
    model = HostModel(power_law, progress=False)
    grid = EnergyGrid(EDGES)

    def shifted(z):
        return model(index=2.0, norm=1.0)(grid.shifted(z))

    made = jax.vmap(shifted)(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(made[1], made[0] / 2, rtol=1e-5)


def test_gradients_are_refused_in_words():
    model = HostModel(power_law, progress=False)
    grid = EnergyGrid(EDGES)
    with pytest.raises(ValueError, match="no gradient"):
        jax.grad(lambda index: model(index=index, norm=1.0)(grid).sum())(2.0)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return make_example(tmp_path_factory.mktemp("example"))[0]


PRIOR = Prior({"index": Uniform(1.0, 3.0), "norm": LogUniform(1e-3, 1e3)})


def test_what_the_function_raised_is_raised_by_inference(example):
    with (
        HostModel(fails_above, progress=False) as model,
        pytest.raises(RuntimeError, match="^The function failed at {'index': "),
    ):
        infer(
            jax.random.key(0),
            example,
            model,
            Prior({"index": Uniform(6.0, 7.0), "norm": 1.0}),
            method="nested",
            progress=False,
        )


@pytest.mark.parametrize("method", ["nuts", "mixture", "smc", "transported"])
def test_methods_that_need_gradients_say_so(example, method):
    model = HostModel(power_law, progress=False)
    with pytest.raises(ValueError, match="no gradients.*sbi"):
        infer(jax.random.key(0), example, model, PRIOR, method=method, progress=False)


def test_parameters_are_those_of_the_function(example):
    model = HostModel(power_law, progress=False)
    prior = Prior({"index": Uniform(1.0, 3.0), "nrom": 1.0})
    with pytest.raises(ValueError, match="'nrom'.*'norm'"):
        infer(jax.random.key(0), example, model, prior, progress=False)
    with pytest.raises(ValueError, match="takes index, norm"):
        model(index=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gives": "flux"}, "'photons' or 'counts'"),
        ({"workers": -1}, "not be negative"),
    ],
)
def test_wrong_choices_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HostModel(power_law, **arguments)


def test_a_function_without_parameters_is_refused():
    with pytest.raises(ValueError, match="named parameters"):
        HostModel(lambda edges: edges)


def test_workers_need_a_function_that_can_be_imported():
    with pytest.raises(ValueError, match="A lambda"):
        HostModel(lambda edges, index, norm: edges[1:], workers=2)


def test_negative_photons_are_refused():
    model = HostModel(lambda edges, norm: norm * np.diff(edges), progress=False)
    with pytest.raises(ValueError, match="negative numbers; got -0.* in bin"):
        model.evaluate(np.array([[-1.0]], np.float32), EDGES, len(EDGES) - 1)


def test_spectra_of_another_length_are_refused():
    model = HostModel(broken, progress=False)
    with pytest.raises(ValueError, match="100 bins; got shape \\(3,\\)"):
        model.evaluate(np.ones((1, 1), np.float32), EDGES, 100)


def test_bars_are_drawn_when_asked_for(capsys):
    spectra(HostModel(power_law, progress=True))
    assert "host model" in capsys.readouterr().err


@pytest.mark.slow
def test_the_posterior_is_that_of_the_same_model_on_the_device(example, reused_keys):
    observation = simulate(
        jax.random.key(1),
        example,
        lambda index, norm: PowerLaw(index, norm),
        {"index": 1.9, "norm": 0.1},
    )
    host = HostModel(power_law, progress=False)
    arguments = {"draws": 3000, "progress": False}
    ours = infer(jax.random.key(2), observation, host, PRIOR, method="sbi", **arguments)
    truth = infer(
        jax.random.key(3),
        observation,
        lambda index, norm: PowerLaw(index, norm),
        PRIOR,
        method="mixture",
        **arguments,
    )
    assert ours.report.verdict == "trusted"
    assert np.all(np.abs(ours.mean() - truth.mean()) < 0.08 * truth.sd())
    np.testing.assert_allclose(ours.sd(), truth.sd(), rtol=0.06)
    assert abs(ours.log_evidence - truth.log_evidence) < 0.05
    found = flux(ours, host, PRIOR, (1.0, 2.0))
    other = flux(truth, lambda index, norm: PowerLaw(index, norm), PRIOR, (1.0, 2.0))
    assert found.summary()["energy"]["mean"] == pytest.approx(
        other.summary()["energy"]["mean"], rel=0.01
    )
    with pytest.raises(ValueError, match="'rounds'"):
        infer(
            jax.random.key(2),
            observation,
            host,
            PRIOR,
            method="sbi",
            training=Training(restriction="rounds"),
            progress=False,
        )


def test_counts_may_come_folded(example):
    scale = np.linspace(1.0, 2.0, example.bins)

    def folded(level):
        return level * scale

    model = HostModel(folded, gives="counts")
    prior = Prior({"level": Uniform(50.0, 150.0)})
    target = make_target((example,), model, prior)
    np.testing.assert_allclose(target.expected_counts(np.zeros(1)), 100 * scale)
    with pytest.raises(ValueError, match="all channels.*HostCounts"):
        simulate(jax.random.key(0), example, model, {"level": 100.0})
