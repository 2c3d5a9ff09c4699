"""The benchmark: that its ways to train do the same work, and that it writes what the page on speed reads.

No test measures a time; those stored are held to the page.
"""

import importlib.util
import inspect
import json
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import nets
from nets import epoch

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import benchmark  # noqa: E402
import growth  # noqa: E402
import measure  # noqa: E402


@pytest.mark.parametrize("network", ["shallow", "two-conv-pool", "dropout"])
def test_networks_are_of_one_size(network):
    ours, keras_own = measure.nets_network(network, 100), measure.keras_network(network, 100)
    assert ours.count_params() == keras_own.count_params()
    if importlib.util.find_spec("torch"):
        parameters = measure.torch_network(network).parameters()
        assert sum(values.numel() for values in parameters) == ours.count_params()


def test_batch_first_computes_the_same():
    usual = measure.nets_network("two-conv-pool", 100)
    other = measure.nets_network("two-conv-pool", 100, measure.batch_first())
    other.set_weights(usual.get_weights())
    hidden = [keras.Model(network.inputs[0], network.layers[-2].output) for network in (usual, other)]
    images = nets.load_mnist().test.images[:10].astype("float32")
    np.testing.assert_allclose(*(model(images) for model in hidden), atol=1e-5)


def test_arithmetic_of_a_step():
    """Against a count by hand: filters x window x places, forwards and for one or two gradients."""
    shapes = measure.products(measure.nets_network("two-conv-pool", 100), 10)
    by_hand = 2 * 10 * (2 * 20 * 25 * 24**2 + 3 * (40 * 500 * 8**2 + 640 * 100 + 100 * 10)) / 1e6
    assert measure.mflop(shapes) == by_hand


@pytest.mark.parametrize("spec", [
    dict(how="fit", layers="keras"),
    dict(how="fit", layers="keras", steps_per_execution=2),
    dict(how="fit", layers="nets"),
    dict(how="nets.train", layers="keras"),
    dict(how="nets.train", layers="batch first"),
    dict(how="nets.train", runs=3, mini_batch_size=30, units=20),
    dict(how="matrix products", mini_batch_size=30, units=20),
    dict(how="torch eager"),
], ids=lambda spec: " ".join(map(str, spec.values())))
def test_ways_to_train(spec):
    if spec["how"].startswith("torch"):
        pytest.importorskip("torch")
    run, _, fewest, most = measure.step(network="two-conv-pool", images=120, **spec)
    run(fewest)
    run(min(2 * fewest, most))
    assert most == 120 // spec.get("mini_batch_size", 10) or spec["how"] == "matrix products"


def test_nets_train_rows_make_the_steps_asked_for(monkeypatch):
    seen, compile_training = [], epoch.compile_training

    def noting(*arguments):
        run, classify = compile_training(*arguments)

        def noted(weights, state, images, labels, order, steps, *rest):
            after = run(weights, state, images, labels, order, steps, *rest)
            changed = np.any(np.asarray(after[0][0]) != np.asarray(weights[0]))
            seen.append((int(steps), np.asarray(order)[0].tolist(), changed))
            return after
        return noted, classify

    monkeypatch.setattr(epoch, "compile_training", noting)
    monkeypatch.setattr(epoch, "block", lambda steps: 2)
    run, *_ = measure.step(how="nets.train", network="shallow", images=120, runs=2)
    run(4)
    (steps, batch, changed), (other_steps, other_batch, other_changed) = seen
    assert steps == other_steps == 4 and changed and other_changed
    assert batch != other_batch  # two different runs


def test_quick_benchmark_writes_the_promised_fields(tmp_path):
    path = tmp_path / "results.json"
    subprocess.run([sys.executable, ROOT / "benchmarks" / "benchmark.py", "--quick", "--output", path],
                   check=True, stdout=subprocess.DEVNULL)
    results = json.loads(path.read_text())
    check(results)
    assert {row["how"] for row in results["rows"]} >= {"fit tensorflow", "nets.train tensorflow",
                                                       "matrix products jax"}


def check(results):
    assert list(results) == ["machine", "versions", "rows", "growth", "start"]
    assert {"python", "keras", "tensorflow", "jax", "numpy"} <= set(results["versions"])
    for row in results["rows"] + results["growth"]:
        for key in ("ms_per_step", "cpu_ms_per_step", "memory_mb", "seconds_to_compile"):
            assert row[key] > 0
    assert all({"network", "how", "runs", "cores"} <= set(row) for row in results["rows"])
    assert all({"over", "value", "how"} <= set(row) for row in results["growth"])
    assert all({"what", "how", "seconds"} <= set(row) for row in results["start"])
    assert any("accuracy" in row for row in results["start"])


@pytest.fixture(scope="module")
def stored():
    return json.loads((ROOT / "benchmarks" / "results.json").read_text())


def test_stored_results_have_a_row_for_each_task(stored):
    check(stored)
    torch = "torch" in stored["versions"]
    compiler = any(row["how"] == "torch compiled" for row in stored["rows"])
    for part, tasks in (
            ("rows", [task for network in benchmark.NETWORKS
                      for task in benchmark.rows(network, torch, compiler)]),
            ("growth", [task for over in benchmark.GROWTH for task in benchmark.growth(over)]),
            ("start", benchmark.starts())):
        assert len(stored[part]) == len(tasks), part
        for row, task in zip(stored[part], tasks):
            assert task.fields.items() <= row.items()


def test_stored_results_bear_out_the_page(stored):
    """What book/22-speed.ipynb says in words. If a new measurement differs, so must the page."""
    ms = {(row["network"], row["how"], row["runs"], row["cores"]): row["ms_per_step"]
          for row in stored["rows"]}
    ways = {how for _, how, runs, cores in ms if runs == cores == 1 and "," not in how}
    own = {"nets.train tensorflow", "nets.train jax"}
    others = ways - own - {"matrix products jax"}
    assert len(others) >= 2
    for network in ("shallow", "two-conv-pool", "dropout"):
        for way in own:
            assert ms[network, way, 1, 1] > ms[network, "matrix products jax", 1, 1]
            if (network, way) != ("dropout", "nets.train tensorflow"):  # the page says why
                assert all(ms[network, way, 1, 1] < ms[network, other, 1, 1] for other in others)
    assert ms["dropout", "nets.train tensorflow", 1, 1] > 2 * ms["dropout", "nets.train jax", 1, 1]
    assert all(ms["shallow", "nets.train jax", 1, 1] < ms["shallow", other, 1, 1] / 2 for other in others)

    two = {how: time for (network, how, _, cores), time in ms.items()
           if (network, cores) == ("two-conv-pool", 1)}
    assert two["fit tensorflow, 50 steps a call"] < two["fit tensorflow"]
    assert two["fit jax, layers of nets"] < 0.75 * two["fit jax"]
    assert two["nets.train jax, layers of Keras"] > 3 * two["fit jax"]
    assert two["nets.train jax"] < two["fit jax, layers of nets"]
    assert two["nets.train jax"] < 0.85 * two["nets.train jax, batch first"]
    assert two["nets.train jax"] < 2 * two["matrix products jax"]
    for backend, least, most in (("jax", 0, 0.1), ("tensorflow", 0.15, 0.25)):  # the share of dispatch in fit
        dispatch = ms["shallow", f"fit {backend}", 1, 1] - ms["shallow", "nets.train jax", 1, 1]
        assert least < dispatch / two[f"fit {backend}"] < most and 0.07 < dispatch < 0.6
    for way in own:
        both = {runs: ms["two-conv-pool", way, runs, "all"] for runs in (1, 2, 5)}
        assert two[way] / 1.7 < both[1] < two[way]
        assert both[2] < two[way] / 1.8
    for other in others:  # not all of it is the arithmetic
        assert two[other] > 2.5 * two["matrix products jax"]

    rate = {row["network"]: row["mflop"] / row["ms_per_step"] for row in stored["rows"]
            if (row["how"], row["cores"]) == ("matrix products jax", 1)}
    assert rate["dropout"] < rate["two-conv-pool"] < rate["large matrices"] < 2 * rate["two-conv-pool"]
    assert ms["dropout", "nets.train jax", 1, 1] > 2 * two["nets.train jax"]

    def grown(over, how="nets.train jax"):
        return {row["value"]: row["ms_per_step"] for row in stored["growth"]
                if (row["over"], row["how"]) == (over, how)}

    runs, images, units = grown("runs"), grown("images"), grown("units")
    assert runs[2] < runs[1] and runs[32] < 1.2 * runs[2]  # on two cores
    assert max(images.values()) < 1.2 * min(images.values())
    same = [runs[1], images[50_000], units[100], grown("mini_batch_size")[10],
            ms["two-conv-pool", "nets.train jax", 1, "all"]]
    assert max(same) < 1.08 * min(same)
    assert units[300] < 1.3 * units[100] and units[4000] > 1.8 * units[100]
    for how in ("nets.train jax", "matrix products jax"):
        an_image = {size: time / size for size, time in grown("mini_batch_size", how).items()}
        assert an_image[30] < an_image[10] and an_image[30] < an_image[100] < an_image[1000]

    first = {row["how"]: row for row in stored["start"] if row["what"] == "first epoch"}
    for backend in benchmark.BACKENDS:
        fit, ours = first[f"fit {backend}"], first[f"nets.train {backend}"]
        assert ours["seconds"] < fit["seconds"] and abs(ours["accuracy"] - fit["accuracy"]) < 0.01

    page = json.loads((ROOT / "book" / "22-speed.ipynb").read_text("utf-8"))["cells"]
    words = " ".join(" ".join("".join(cell["source"]) for cell in page).replace("\n> ", "\n").split())
    for how, said in (("nets.train jax", "takes {} ms with `nets.train` on JAX,"),
                      ("fit jax", "{} ms with Keras' `fit`"), ("fit tensorflow", "{} ms with Keras' `fit`"),
                      ("matrix products jax", "{} ms for its bare matrix products")):
        assert said.format(f"{two[how]:.1f}") in words
    more = [ms["shallow", other, 1, 1] - ms["shallow", "nets.train jax", 1, 1] for other in others]
    assert f"Dispatch costs from {min(more):.1f} to {max(more):.1f} ms a step" in words
    assert "then rises, even for the products alone" in words  # both as above
    assert not {"metrics", "jit_compile"} & set(re.findall(r"\w+", inspect.getsource(measure.fit)))
    assert "from NumPy arrays, without metrics, and compiled (`jit_compile=\"auto\"`, the default)" in words
    once, fifty = ((row["ms_per_step"], row["ms_per_step"] - row["cpu_ms_per_step"])
                   for how in ("fit tensorflow", "fit tensorflow, 50 steps a call") for row in stored["rows"]
                   if (row["network"], row["how"], row["cores"]) == ("two-conv-pool", how, 1))
    saved, idle = (before - after for before, after in zip(once, fifty))
    assert (f"save {saved:.1f} ms a step, half of the time, of which the core was idle for {idle:.1f} ms"
            in words and 0.45 < saved / once[0] < 0.55)
    assert round(two["nets.train jax, layers of Keras"] / two["fit jax"]) == 10
    assert "ten times as long inside its loop as outside" in words and "takes half the time" in words
    faster = two["nets.train jax"] / ms["two-conv-pool", "nets.train jax", 1, "all"]
    share = two["matrix products jax"] / two["nets.train jax"]
    assert (f"$v = {faster:.2f}$, and $p$ is {2 - 2 / faster:.2f}. It is less than the share of the matrix "
            f"products in the time on one core, {share:.2f}") in words
    pair = ms["two-conv-pool", "nets.train jax", 2, "all"]
    fair = [two[other] / 2 / pair for other in others]
    assert f"`nets.train` is then from {min(fair):.1f} to {max(fair):.1f} times as fast" in words
    weights = 20 * 25 + 40 * 500 + 640 * 1000 + 1000 * 1000 + 1000 * 10
    (mflop,) = {row["mflop"] for row in stored["rows"] if row["network"] == "dropout" and "mflop" in row}
    moved, best = 6 * 4e-6 * weights, rate["large matrices"]
    assert (f"that is {moved:.0f} MB a step at least. The arithmetic is {mflop:.0f} million operations. At "
            f"{best:.0f} Gflop a second that takes {mflop / best:.1f} ms, and so the memory would have to "
            f"deliver about {moved * best / mflop:.0f} GB a second") in words


def test_the_page_on_clusters_has_todays_sum():
    text = growth.PAGE.read_text("utf-8")
    assert growth.page(text) == text, "run `make pages`"
    (gain, step), words = growth.measured(), " ".join(text.split())
    both = [record for record in growth.records() if growth.seconds(record, True)
            and growth.seconds(record, False)]
    assert f"{gain:.0f} times less: the least gain among the four experiments" in words and len(both) == 4
    assert f"at least {1000 * step:.2f} ms a step" in words and f"; and {gain:.0f} times as much" in words
    cores, five, one = ([length for length, _ in growth.jobs(*kind)]
                        for kind in ((False, 1), (True, 5), (True, 1)))
    for jobs, enough in ((five, 8), (cores, 33)):
        assert growth.span(jobs, 64) == jobs[0] > growth.span(jobs, enough) / 1.02
        assert growth.span(jobs, enough - 3) > 1.05 * jobs[0]
    assert round(sum(one) / sum(five)) == 3


def test_a_span_is_that_of_whoever_is_free():
    assert [growth.span(jobs, 2) for jobs in ([4, 3, 2, 2], [5, 1, 1], [1])] == [6, 5, 1]


IMPORT = """
import sys
import keras
loaded, opened = set(sys.modules), []
sys.addaudithook(lambda event, arguments: opened.append(f"{event} {arguments[0]}"))
import nets
print(*{name.split(".")[0] for name in set(sys.modules) - loaded} - set(sys.stdlib_module_names))
print("nets.plots" in sys.modules)
print([line for line in opened if line.startswith("socket") or
       line.startswith("open") and not line.endswith((".py", ".pyc"))])
"""


def test_import_of_nets_loads_neither_pictures_nor_data():
    """Nothing but nets comes with it, after Keras (which loads matplotlib itself, where it finds it)."""
    output = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True,
                            cwd=ROOT).stdout
    assert output.splitlines()[-3:] == ["nets", "False", "[]"]
