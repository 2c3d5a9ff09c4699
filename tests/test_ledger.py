"""The ledger: what was measured is kept whole, found again, and never mixed up."""

import json
import multiprocessing
import os
import re

import keras
import numpy as np
import pytest
from experiments import sequential

import nets
from nets import data, ledger, training
from nets.ledger import MissingRecord
from nets.result import Result


@pytest.fixture
def trained(monkeypatch):
    """The seeds of the runs that are trained."""
    seeds, starting_point = [], training.starting_point

    def spy(network, seed):
        seeds.append(seed)
        return starting_point(network, seed)

    monkeypatch.setattr(training, "starting_point", spy)
    return seeds


@pytest.fixture
def train(few):
    """`nets.train` on a tiny experiment named "tiny", with changes."""
    def tiny(network=None, **changes):
        options = {"name": "tiny", "epochs": 2, "mini_batch_size": 50, "learning_rate": 0.1, **changes}
        return nets.train(network or sequential(nets.Softmax(10)), options.pop("data", few), **options)
    return tiny


@pytest.fixture
def mode(monkeypatch):
    """Sets NETS_MODE; None unsets it."""
    def set_mode(value):
        monkeypatch.delenv("NETS_MODE")
        if value is not None:
            monkeypatch.setenv("NETS_MODE", value)
    return set_mode


def accelerator(monkeypatch, present):
    monkeypatch.setattr(ledger, "has_accelerator", lambda: present)
    monkeypatch.setattr(ledger, "device", lambda: "a test")


def files(home):
    """Name and content of each file under the ledger's home."""
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


# ---- modes ----


def test_full_trains_once_and_records(home, train, trained):
    first = train(runs=2)
    assert sorted(trained) == [0, 1]
    assert sorted(files(home)) == ["runs/tiny.json", "runs/tiny.predictions.npz"]
    again = train(runs=2)
    assert sorted(trained) == [0, 1]  # no more than before
    assert again.runs == first.runs and again.settings == first.settings
    np.testing.assert_array_equal(again.predictions, first.predictions)
    np.testing.assert_array_equal(again.probabilities, first.probabilities)


def test_probabilities_are_those_of_the_trained_network(train, few):
    network = sequential(nets.Softmax(10))
    result = train(network, runs=2)
    expected = network.predict(few.test.images, verbose=0)
    assert result.probabilities.shape == (2, len(few.test.labels), 10)
    np.testing.assert_allclose(result.probabilities[0], expected, atol=1e-3)
    assert abs(result.probabilities[1] - expected).max() > 0.01
    np.testing.assert_array_equal(result.predictions, result.probabilities.argmax(axis=-1))


def test_rounded_probabilities_keep_the_largest():
    p = np.array([[[0.1, 0.4501, 0.4502, 0], [0, 0, 0, 1]],
                  [[0.25, 0.25, 0.25, 0.25], [0.9, 0.1, 0, 0]]], np.float32)
    assert np.round(p, 3).argmax(axis=-1).tolist() == [[1, 3], [0, 0]]
    small = ledger.rounded(p)
    assert small.dtype == np.float16 and small.argmax(axis=-1).tolist() == [[2, 3], [0, 0]]
    assert len(np.unique(ledger.rounded(np.linspace(0, 1, 100_000)[:, None]))) == 1001
    np.testing.assert_allclose(small, p, atol=1e-3)


def test_a_record_of_answers_only_has_no_probabilities(home, train, mode):
    result = train(runs=2)
    path = home / "runs/tiny.predictions.npz"
    arrays = ledger.load_arrays(path)
    np.savez(path, **{**arrays, "1": result.predictions[1].astype("uint8")})
    mode("recorded")
    again = train(runs=2)
    assert again.probabilities is None and (again.predictions == result.predictions).all()
    assert train(runs=1).probabilities is not None


def test_without_a_name_nothing_is_recorded(home, train, trained):
    train(name=None)
    train(name=None)
    assert trained == [0, 0] and not files(home)


def test_recorded_answers_without_training(home, train, trained, mode):
    first = train(runs=2)
    before = files(home)
    mode("recorded")
    again = train(runs=2)
    assert again.runs == first.runs and (again.predictions == first.predictions).all()
    assert len(trained) == 2 and files(home) == before


def test_recorded_with_fewer_runs_than_wanted_says_so(train, mode):
    train(runs=1)
    mode("recorded")
    result = train(runs=3)
    assert [run["seed"] for run in result.runs] == [0] and result.wanted == 3
    assert "1 run of the 3 planned" in str(result)


def test_recorded_without_a_record_is_empty_and_says_what_to_do(home, train, trained, mode):
    mode("recorded")
    result = train(runs=3)
    assert result.runs == [] and not trained and not files(home)
    assert "tiny: not run yet" in str(result) and "NETS_MODE=full" in str(result) and "3 runs" in str(result)


@pytest.mark.parametrize("changes", [{"epochs": 3}, {"l2": 0.1}, {"learning_rate": 0.2, "epochs": 3},
                                     {"early_stopping": 5}])
def test_recorded_with_other_settings_names_them(train, trained, mode, changes):
    train()
    mode("recorded")
    names = ", ".join(key for key in ("epochs", "learning_rate", "l2", "early_stopping") if key in changes)
    with pytest.raises(MissingRecord, match=rf"'tiny'.*other settings \({names} differ\).*NETS_MODE=full"):
        train(**changes)
    assert trained == [0]


def test_recorded_names_a_setting_that_only_the_record_has(train, mode):
    train(early_stopping=5)
    mode("recorded")
    with pytest.raises(MissingRecord, match=r"early_stopping differ"):
        train()


def test_quick_is_short_and_never_writes(home, mnist, train, trained, mode):
    mode("quick")
    result = train(data=mnist, runs=5, epochs=7, keep_weights=True, learning_rate=lambda epoch: 0.1)
    assert sorted(trained) == [0, 1] and [run["seed"] for run in result.runs] == [0, 1]
    assert [len(run["loss"]) for run in result.runs] == [1, 1]
    assert result.predictions.shape == (2, 1000) and result.name == "tiny"
    assert result.settings["data"]["train"][0] == result.settings["data"]["validation"][0] == 1000
    assert not files(home)


def test_quick_trains_one_run_where_one_is_wanted(train, trained, mode):
    mode("quick")
    train(runs=1, epochs=1)
    assert trained == [0]


def test_quick_neither_reads_nor_changes_the_ledger(home, train, trained, mode):
    train()
    before = files(home)
    mode("quick")
    train()
    assert trained == [0, 0] and files(home) == before


def test_quick_with_large_mini_batches(mnist, train, mode):
    mode("quick")
    train(data=mnist, mini_batch_size=2000)


@pytest.mark.parametrize("value", ["fast", "FULL", "1"])
def test_unknown_mode_is_an_error(train, mode, value):
    mode(value)
    with pytest.raises(ValueError, match=f"NETS_MODE is {value!r}.*full, recorded, quick"):
        train()


@pytest.mark.parametrize("value", [None, ""])
def test_unset_trains_where_there_is_no_record(home, train, trained, mode, capsys, monkeypatch, value):
    accelerator(monkeypatch, False)
    mode(value)
    train(runs=2)
    assert sorted(trained) == [0, 1] and "runs/tiny.json" in files(home)
    assert "Training 2 runs of 2 epochs on a test: about " in capsys.readouterr().out


def test_unset_answers_from_the_record_without_an_accelerator(train, trained, mode, capsys, monkeypatch):
    train()
    accelerator(monkeypatch, False)
    mode(None)
    result = train(runs=3)
    assert trained == [0] and len(result.runs) == 1 and "Training" not in capsys.readouterr().out


def test_unset_trains_the_missing_runs_on_an_accelerator(train, trained, mode, monkeypatch):
    train()
    accelerator(monkeypatch, True)
    mode(None)
    assert [run["seed"] for run in train(runs=3).runs] == [0, 1, 2]
    assert sorted(trained) == [0, 1, 2]


@pytest.mark.parametrize("changes, seed", [({"epochs": 1}, 0), ({"seed": 5}, 5)])
def test_unset_trains_other_settings_or_seeds(train, trained, mode, monkeypatch, changes, seed):
    train()
    accelerator(monkeypatch, False)
    mode(None)
    train(**changes)
    assert trained == [0, seed]


# ---- adding runs ----


def test_missing_runs_are_added_and_the_rest_is_kept(home, train, trained):
    train(runs=1, seed=1)
    path = home / "runs/tiny.json"
    before, predictions = path.read_text(), ledger.load_arrays(home / "runs/tiny.predictions.npz")
    result = train(runs=3)
    assert sorted(trained) == [0, 1, 2] and [run["seed"] for run in result.runs] == [0, 1, 2]

    head, zero, one, two, tail = re.fullmatch(r'(.*"runs": \[\n)(.*),\n(.*),\n(.*)(\n \]\n}\n)',
                                              path.read_text(), re.DOTALL).groups()
    assert [json.loads(line)["seed"] for line in (zero, one, two)] == [0, 1, 2]  # a line a run
    assert head + one + tail == before
    after = ledger.load_arrays(home / "runs/tiny.predictions.npz")
    assert sorted(after) == ["0", "1", "2"] and (after["1"] == predictions["1"]).all()


def test_a_record_of_other_settings_is_not_overwritten(home, train, trained):
    first = train()
    before = files(home)
    other = train(epochs=1)
    after = files(home)
    assert before.items() <= after.items()
    new = f"runs/tiny~{ledger.fingerprint(other.settings)[:8]}"
    assert sorted(after.keys() - before.keys()) == [f"{new}.json", f"{new}.predictions.npz"]
    assert train().runs == first.runs and train(epochs=1).runs == other.runs
    assert trained == [0, 0]


def test_weights_are_stored_and_found(home, train, trained, mode):
    network, again = sequential(nets.Softmax(10)), sequential(nets.Softmax(10))
    train(network, keep_weights=True, runs=2)
    assert "runs/tiny.weights.h5" in files(home)
    mode("recorded")
    train(again, keep_weights=True)
    for ours, theirs in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.ptp(again.get_weights()[0]) > 0


def test_missing_weights_are_an_error_in_recorded_mode_and_trained_in_full(home, train, trained, mode):
    train()
    mode("recorded")
    with pytest.raises(MissingRecord, match=r"tiny.weights.h5 is missing.*NETS_MODE=full"):
        train(keep_weights=True)
    mode("full")
    train(keep_weights=True)
    assert trained == [0, 0] and "runs/tiny.weights.h5" in files(home)


def test_recorded_with_none_of_the_wanted_runs(train, mode):
    train()
    mode("recorded")
    with pytest.raises(MissingRecord, match="seed"):
        train(seed=5)


# ---- failures ----


def test_a_damaged_record_says_what_to_do(home, train):
    train()
    path = home / "runs/tiny.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=r"tiny\.json in the ledger is damaged.*remove it and train again"):
        train()


def test_missing_predictions_say_what_to_do(home, train):
    train()
    (home / "runs/tiny.predictions.npz").unlink()
    with pytest.raises(MissingRecord, match=r"tiny\.predictions\.npz is missing.*remove tiny\.json"):
        train()


@pytest.mark.skipif(ledger.fcntl is None, reason="this system has no such lock")
def test_two_processes_lose_no_run(home, train):
    settings = train(runs=1).settings
    run, probabilities = {"loss": []}, np.zeros((3, 10), np.float16)
    context = multiprocessing.get_context("fork")
    adders = [context.Process(target=lambda start=start: [
        ledger.add("tiny", settings, {"seed": seed, **run}, probabilities) for seed in range(start, 40, 2)])
        for start in (2, 3)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(60)
    assert [adder.exitcode for adder in adders] == [0, 0]
    runs, arrays = ledger.runs_of("tiny", settings)
    assert sorted(runs) == sorted(arrays) == [0, *range(2, 40)]


@pytest.mark.parametrize("failing", ["tiny.json", "tiny.predictions.npz"])
def test_a_failure_while_moving_leaves_the_old_record_whole(home, train, monkeypatch, failing):
    first = train()
    before, replace = files(home), os.replace

    def failing_replace(source, target):
        if target.name == failing:
            raise OSError("No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing_replace)
    with pytest.raises(OSError, match="No space left"):
        train(runs=2)
    monkeypatch.setattr(os, "replace", replace)
    assert files(home)["runs/tiny.json"] == before["runs/tiny.json"]
    known, probabilities = ledger.runs_of("tiny", first.settings)
    assert [known[0]] == first.runs and (probabilities[0] == first.probabilities[0]).all() and 1 not in known
    assert [run["seed"] for run in train(runs=2).runs] == [0, 1]  # and the next call repairs it


def test_a_failure_while_writing_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(aside):
        aside.write_text("half of the n")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        ledger.replace(path, fail)
    assert files(tmp_path) == {"file.txt": b"old"}


def test_replace_makes_its_folder_and_leaves_only_the_file(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    ledger.replace(path, lambda aside: aside.write_text("new"))
    ledger.replace(path, lambda aside: aside.write_text("newer"))
    assert files(tmp_path) == {"deep/file.txt": b"newer"} and os.listdir(path.parent) == ["file.txt"]


# ---- settings ----


@pytest.fixture
def settings(train, mode, monkeypatch):
    """The settings of a call; nothing is trained."""
    mode("recorded")
    return lambda *network, **changes: train(*network, **changes).settings


def dense(units=20, activation="sigmoid", dropout=0.0, **options):
    return sequential(nets.FullyConnected(units, activation, dropout, **options), nets.Softmax(10))


def conv(*arguments, **options):
    return sequential(nets.ConvPool(4, *arguments, **options), nets.Softmax(10))


def frozen():
    network = dense()
    network.layers[1].trainable = False
    return network


def wired(shortcut):
    """The same layers: the outputs of two are added, or the second's to itself. Named by Keras."""
    inputs = keras.Input((28, 28, 1))
    first = nets.FullyConnected(10)(inputs)
    second = nets.FullyConnected(10)(first)
    return keras.Model(inputs, nets.Softmax(10)(keras.layers.Add()([first if shortcut else second, second])))


NETWORKS = [lambda: dense(), lambda: dense(21), lambda: dense(20, "tanh"), lambda: dense(dropout=0.5),
            lambda: dense(kernel_initializer="he_normal"), lambda: dense(bias_initializer="zeros"),
            lambda: dense(dtype="float64"), lambda: conv(), lambda: conv(4), lambda: conv(strides=2),
            lambda: conv(pool="l2"), lambda: conv(pool_size=3), lambda: conv(activation="relu"),
            lambda: sequential(nets.Softmax(10)), lambda: sequential(nets.FullyConnected(10, "softmax")),
            lambda: sequential(keras.layers.Flatten(), keras.layers.Dense(10, "softmax")),
            lambda: sequential(keras.layers.MaxPooling2D(), nets.Softmax(10)),
            lambda: sequential(keras.layers.AveragePooling2D(2), nets.Softmax(10)),
            lambda: keras.Sequential([keras.layers.Rescaling(1 / 255), nets.Softmax(10)])]


def test_different_networks_have_different_fingerprints(settings):
    assert len({ledger.fingerprint(settings(make())) for make in NETWORKS}) == len(NETWORKS)


@pytest.mark.parametrize("one, other", [
    (dense, frozen), (lambda: wired(True), lambda: wired(False))], ids=["frozen", "wired"])
def test_networks_that_train_differently_have_different_fingerprints(settings, one, other):
    assert ledger.fingerprint(settings(one())) != ledger.fingerprint(settings(other()))


def test_each_setting_changes_the_fingerprint(settings, few):
    swapped = few._replace(validation=few.test, test=few.validation)
    relabelled = few._replace(train=few.train._replace(labels=few.train.labels[::-1]))
    redrawn = few._replace(test=few.test._replace(images=few.test.images[:, ::-1]))
    fewer = few._replace(train=nets.Digits(few.train.images[:-1], few.train.labels[:-1]))
    changes = [{}, {"epochs": 3}, {"mini_batch_size": 25}, {"learning_rate": 0.2}, {"l2": 0.1},
               {"early_stopping": 3}, {"early_stopping": 4}, {"learning_rate": lambda epoch: 0.1 + epoch},
               *({"data": changed} for changed in (swapped, relabelled, redrawn, fewer))]
    assert len({ledger.fingerprint(settings(**change)) for change in changes}) == len(changes)


def test_equal_calls_have_equal_fingerprints(settings):
    """Whatever the layers are called, whatever weights they hold, and for any runs and name."""
    keras.backend.clear_session()
    first = settings(conv(), runs=3)
    network = sequential(nets.ConvPool(4, name="eyes"), nets.Softmax(10, name="mouth"))
    network.build((None, 28, 28, 1))
    assert settings(network, seed=4, name="other", keep_weights=True) == first


def test_describe_does_not_depend_on_names():
    assert ledger.describe(wired(True)) == ledger.describe(wired(True))
    assert ledger.describe(dense()) == ledger.describe(sequential(
        nets.FullyConnected(20, name="hidden"), nets.Softmax(10, name="output")))


@pytest.mark.parametrize("make", NETWORKS)
def test_description_survives_json(make):
    network = make()
    network.build((None, 28, 28, 1))
    description = ledger.describe(network)
    assert json.loads(json.dumps(description)) == description


# ---- the records of this repository ----

RECORDS = sorted((data.HOME / "runs").glob("*.json"))


@pytest.fixture(params=RECORDS, ids=lambda path: path.stem)
def record(request):
    return request.param, json.loads(request.param.read_text())


def test_record_has_its_fingerprint_and_name(record):
    path, content = record
    assert content["fingerprint"] == ledger.fingerprint(content["settings"])
    assert path.stem in (content["name"], f"{content['name']}~{content['fingerprint'][:8]}")


def test_record_is_found_by_its_settings(record, monkeypatch):
    _, content = record
    monkeypatch.setattr(ledger, "HOME", data.HOME)
    assert ledger.find(content["name"], content["settings"]) == content


def test_record_is_complete(record):
    _, content = record
    seeds = [run["seed"] for run in content["runs"]]
    assert seeds == sorted(set(seeds)) and seeds
    for run in content["runs"]:
        epochs = len(run["loss"])
        assert epochs == content["settings"]["epochs"] or (
            "early_stopping" in content["settings"] and 1 <= epochs <= content["settings"]["epochs"])
        for part in ("validation_accuracy", "test_accuracy"):
            assert len(run[part]) == epochs and all(0 <= value <= 1 for value in run[part])
        assert all(np.isfinite(run["loss"])) and min(run["loss"]) >= 0 and run["seconds"] > 0
        assert run["backend"] in ("tensorflow", "jax") and run["device"] and run["finished"]
        assert run["versions"].keys() >= {"python", "keras", run["backend"], "numpy"}


def test_record_predictions_give_its_last_accuracy(record, mnist):
    path, content = record
    arrays = ledger.load_arrays(path.with_suffix(".predictions.npz"))
    images, checksum = content["settings"]["data"]["test"]
    result = Result("", {}, content["runs"], [arrays[str(run["seed"])] for run in content["runs"]], 1)
    assert result.predictions.shape == (len(result.runs), images)
    if result.probabilities is not None:
        sums = result.probabilities.sum(axis=-1, dtype=float)  # of ten figures, each rounded to three digits
        np.testing.assert_allclose(sums, 1, atol=10 * 0.0005 + 0.0005)  # the last for float16
    if [images, checksum] != ledger.digest(mnist.test):
        pytest.skip("this experiment has a test set of its own")
    for run, answers in zip(result.runs, result.predictions):
        assert (answers == mnist.test.labels).mean() == pytest.approx(run["test_accuracy"][-1], abs=1e-6)
