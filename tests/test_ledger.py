"""The ledger: what was measured is kept whole, found again, and never mixed up."""

import errno
import json
import multiprocessing
import os
import platform
import re
import subprocess

import h5py
import keras
import numpy as np
import pytest
from experiments import sequential

import nets
from nets import data, files, groups, ledger, machine, runs
from nets.ledger import MissingRecord
from nets.lookup import Lookup
from nets.result import Result
from nets.settings import describe, digest, fingerprint


@pytest.fixture
def trained(monkeypatch):
    """The seeds of the runs that are trained."""
    seeds, starting_point = [], runs.starting_point

    def spy(network, seed):
        seeds.append(seed)
        return starting_point(network, seed)

    monkeypatch.setattr(runs, "starting_point", spy)
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
        monkeypatch.delenv("NETS_MODE", raising=False)
        if value is not None:
            monkeypatch.setenv("NETS_MODE", value)
    return set_mode


def accelerator(monkeypatch, present):
    monkeypatch.setattr(machine, "has_accelerator", lambda: present)
    monkeypatch.setattr(machine, "device", lambda: "a test")


def content(home):
    """Name and content of each file under the ledger's home."""
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*")
            if path.is_file() and path.name != ".lock"}


# ---- modes ----


def test_full_trains_once_and_records(home, train, trained):
    first = train(runs=2)
    assert sorted(trained) == [0, 1]
    assert sorted(content(home)) == ["runs/tiny.json", "runs/tiny.predictions.npz"]
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
    arrays = files.load_arrays(path)
    np.savez(path, **{**arrays, "1": result.predictions[1].astype("uint8")})
    mode("recorded")
    again = train(runs=2)
    assert again.probabilities is None and (again.predictions == result.predictions).all()
    assert train(runs=1).probabilities is not None


def test_without_a_name_nothing_is_recorded(home, train, trained):
    train(name=None)
    train(name=None)
    assert trained == [0, 0] and not content(home)


def test_recorded_answers_without_training(home, train, trained, mode):
    first = train(runs=2)
    before = content(home)
    mode("recorded")
    again = train(runs=2)
    assert again.runs == first.runs and (again.predictions == first.predictions).all()
    assert len(trained) == 2 and content(home) == before


def test_recorded_with_fewer_runs_than_wanted(train, mode):
    train(runs=1)
    mode("recorded")
    result = train(runs=3)
    assert [run["seed"] for run in result.runs] == [0] and "tiny: 1 run\n" in str(result)


@pytest.mark.parametrize("name, said", [("tiny", "'tiny'"), (None, "'without a name'")])
def test_recorded_without_a_record_is_an_error_that_says_what_to_do(home, train, trained, mode, name, said):
    mode("recorded")
    with pytest.raises(MissingRecord, match=rf"no run {said} with the seed 0: set NETS_MODE=full"):
        train(name=name, runs=3)
    assert not trained and not content(home)


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
    assert not content(home)


def test_quick_trains_one_run_where_one_is_wanted(train, trained, mode):
    mode("quick")
    train(runs=1, epochs=1)
    assert trained == [0]


def test_quick_neither_reads_nor_changes_the_ledger(home, train, trained, mode):
    train()
    before = content(home)
    mode("quick")
    train()
    assert trained == [0, 0] and content(home) == before


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
    assert sorted(trained) == [0, 1] and "runs/tiny.json" in content(home)
    assert "Training 2 runs of 2 epochs on a test: about " in capsys.readouterr().out


@pytest.mark.parametrize("present", [False, True])
def test_unset_answers_from_the_record(train, trained, mode, capsys, monkeypatch, present):
    train()
    accelerator(monkeypatch, present)
    mode(None)
    result = train(runs=3)
    assert trained == [0] and len(result.runs) == 1 and not capsys.readouterr().out


@pytest.mark.parametrize("present", [False, True])
def test_unset_trains_ten_minutes_at_most(home, train, trained, mode, capsys, monkeypatch, present):
    """Of two runs at once, or of two that take turns, each of two epochs."""
    accelerator(monkeypatch, present)
    monkeypatch.setattr(machine, "cores", lambda: 1)
    seconds = 301.0 if present else 151.0
    monkeypatch.setattr(runs.Trainer, "seconds_per_epoch", lambda *arguments: seconds)
    mode(None)
    with pytest.raises(RuntimeError) as error:
        train(runs=2)
    assert str(error.value) == (
        f"Not trained, as it would take about 10 min {2 if present else 4} s: 2 runs of 2 epochs on a test. "
        "NETS_MODE=full trains it.")
    assert not content(home) and not capsys.readouterr().out
    seconds = 149.0
    assert len(train(runs=2).runs) == 2
    seconds = 301.0
    mode("full")
    assert len(train(runs=2, epochs=1).runs) == 2


def test_unset_counts_what_a_killed_call_has_left(home, train, mode, capsys, monkeypatch):
    with pytest.raises(FloatingPointError):  # its checkpoint stays
        train(learning_rate=lambda epoch: 1e38 if epoch else 0.1)
    accelerator(monkeypatch, False)
    monkeypatch.setattr(runs.Trainer, "seconds_per_epoch", lambda *arguments: 400.0)
    mode(None)
    with pytest.raises(FloatingPointError):
        train(learning_rate=lambda epoch: 1e38 if epoch else 0.1)
    assert "Training 1 run of 2 epochs on a test: about 6 min 40 s." in capsys.readouterr().out


@pytest.mark.parametrize("changes, seed", [({"epochs": 1}, 0), ({"seed": 5}, 5)])
def test_unset_trains_other_settings_or_seeds(train, trained, mode, monkeypatch, changes, seed):
    train()
    accelerator(monkeypatch, False)
    mode(None)
    train(**changes)
    assert trained == [0, seed]


# ---- the book's ledger, where there is only the package ----


@pytest.fixture
def printed(home, train, trained, mode, monkeypatch):
    """The book's ledger, which holds seeds 0 to 2 of "tiny", for a reader who has none yet."""
    train(runs=3, keep_weights=True)
    path = home / "runs/tiny.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"runs": [run | {"seconds": 100} for run in record["runs"]]}))
    (home / "runs").rename(home / "records")
    monkeypatch.setattr(ledger, "RECORDS", home / "records")
    monkeypatch.setattr(ledger, "HOME", home / "reader")
    mode("recorded")
    trained.clear()
    before = content(home)
    yield train(runs=3)
    assert before.items() <= content(home).items()


def test_the_book_answers_and_nothing_is_written(home, printed, train, few, monkeypatch):
    network = sequential(nets.Softmax(10))
    result = train(network, runs=3, keep_weights=True)
    assert result.runs == printed.runs and "the book" not in str(result)
    assert abs(network.predict(few.test.images, verbose=0) - result.probabilities[0]).max() < 1e-3
    with pytest.raises(MissingRecord, match=r"other settings \(epochs differ"):
        train(epochs=1)
    with pytest.raises(MissingRecord, match="no run 'unknown'"):
        train(name="unknown")
    assert not (home / "reader").exists()


def test_full_trains_what_the_reader_lacks(home, printed, train, trained, mode, capsys):
    mode("full")
    result = train(runs=2)
    assert sorted(trained) == [0, 1] and "Training 2 runs of 2 epochs" in capsys.readouterr().out
    theirs = 100 * printed.test_accuracies
    assert f"the book: {theirs.mean():.2f} ± {theirs.std(ddof=1):.2f} %, 3 runs: the same" in str(result)
    assert "reader/runs/tiny.json" in content(home)
    for value, books in (("full", [False, False]), ("recorded", [True] * 3), (None, [False, False, True])):
        mode(value)
        again = train(runs=len(books))
        assert [run["seconds"] == 100 for run in again.runs] == books
        assert ("the book" in str(again)) == (False in books)
    assert sorted(trained) == [0, 1]


@pytest.mark.parametrize("ours, theirs, words", [
    ([0.9912, 0.9914], [0.9912, 0.9914, 0.9910], "99.12 ± 0.02 %, 3 runs: the same"),
    ([0.9913], [0.9912, 0.9914], "99.13 ± 0.01 %, 2 runs: yours is as good"),
    ([0.9915], [0.9912, 0.9914], "99.13 ± 0.01 %, 2 runs: yours is 0.02 higher, within the spread"),
    ([0.9900, 0.9916], [0.9912, 0.9914], "99.13 ± 0.01 %, 2 runs: yours is 0.05 lower, within the spread"),
    ([0.9909], [0.9912, 0.9914], "99.13 ± 0.01 %, 2 runs: yours is 0.04 lower"),
    ([0.9909], [0.9912], "99.12 %, 1 run: yours is 0.03 lower")])
def test_a_readers_result_stands_beside_the_books(ours, theirs, words):
    ours, theirs = ([{"seed": seed, "validation_accuracy": [0.9], "test_accuracy": [accuracy], "seconds": 9,
                      "backend": "jax", "device": "a test"} for seed, accuracy in enumerate(accuracies)]
                    for accuracies in (ours, theirs))
    result = Result("tiny", {}, ours, [np.zeros(1)] * len(ours), theirs)
    assert f"the book: {words}" in str(result).splitlines()


# ---- adding runs ----


def test_missing_runs_are_added_and_the_rest_is_kept(home, train, trained):
    train(runs=1, seed=1)
    path = home / "runs/tiny.json"
    before, predictions = path.read_text(), files.load_arrays(home / "runs/tiny.predictions.npz")
    result = train(runs=3)
    assert sorted(trained) == [0, 1, 2] and [run["seed"] for run in result.runs] == [0, 1, 2]

    head, zero, one, two, tail = re.fullmatch(r'(.*"runs": \[\n)(.*),\n(.*),\n(.*)(\n \]\n}\n)',
                                              path.read_text(), re.DOTALL).groups()
    assert [json.loads(line)["seed"] for line in (zero, one, two)] == [0, 1, 2]  # a line a run
    assert head + one + tail == before
    after = files.load_arrays(home / "runs/tiny.predictions.npz")
    assert sorted(after) == ["0", "1", "2"] and (after["1"] == predictions["1"]).all()


def test_a_record_of_other_settings_is_not_overwritten(home, train, trained):
    first = train()
    before = content(home)
    other = train(epochs=1)
    after = content(home)
    assert before.items() <= after.items()
    new = f"runs/tiny~{fingerprint(other.settings)[:8]}"
    assert sorted(after.keys() - before.keys()) == [f"{new}.json", f"{new}.predictions.npz"]
    assert train().runs == first.runs and train(epochs=1).runs == other.runs
    assert trained == [0, 0]


def test_weights_are_stored_and_found(home, train, trained, mode):
    network, again = sequential(nets.Softmax(10)), sequential(nets.Softmax(10))
    train(network, keep_weights=True, runs=2)
    assert "runs/tiny.weights.h5" in content(home)
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
    assert trained == [0, 0] and "runs/tiny.weights.h5" in content(home)


def test_recorded_with_none_of_the_wanted_runs(train, mode):
    train()
    mode("recorded")
    with pytest.raises(MissingRecord, match=r"with the seed 5 \(but with the seeds 0\): set NETS_MODE=full"):
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


@pytest.mark.skipif(files.fcntl is None, reason="this system has no such lock")
def test_two_processes_lose_no_run(home, train, few):
    entry = ledger.Entry("tiny", train(runs=1).settings, few.test)
    answers = np.zeros((100, 10), np.float16)
    accuracy = [float(np.mean(few.test.labels == 0))]
    run = {"loss": [1.0] * 2, "validation_accuracy": accuracy * 2, "test_accuracy": accuracy * 2,
           "seconds": 1.0}
    context = multiprocessing.get_context("fork")
    adders = [context.Process(target=lambda start=start: [
        entry.add({"seed": seed, **run}, answers) for seed in range(start, 40, 2)])
        for start in (2, 3)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(60)
    assert [adder.exitcode for adder in adders] == [0, 0]
    known, arrays = entry.runs()
    assert sorted(known) == sorted(arrays) == [0, *range(2, 40)]


@pytest.mark.parametrize("failing", ["tiny.json", "tiny.predictions.npz"])
def test_a_failure_while_moving_leaves_the_old_record_whole(home, train, few, monkeypatch, failing):
    first = train()
    before, replace = content(home), os.replace

    def failing_replace(source, target):
        if target.name == failing:
            raise OSError("No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing_replace)
    with pytest.raises(OSError, match="No space left"):
        train(runs=2)
    monkeypatch.setattr(os, "replace", replace)
    assert content(home)["runs/tiny.json"] == before["runs/tiny.json"]
    known, probabilities = ledger.Entry("tiny", first.settings, few.test).runs()
    assert [known[0]] == first.runs and (probabilities[0] == first.probabilities[0]).all() and 1 not in known
    assert [run["seed"] for run in train(runs=2).runs] == [0, 1]  # and the next call repairs it


def test_a_failure_while_writing_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(aside):
        aside.write_text("half of the n")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        files.replace(path, fail)
    assert content(tmp_path) == {"file.txt": b"old"}


def test_replace_makes_its_folder_and_leaves_only_the_file(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    files.replace(path, lambda aside: aside.write_text("new"))
    files.replace(path, lambda aside: aside.write_text("newer"))
    assert content(tmp_path) == {"deep/file.txt": b"newer"} and os.listdir(path.parent) == ["file.txt"]


# ---- settings ----


@pytest.fixture
def settings(train, mode, monkeypatch):
    """The settings of a call; nothing is trained."""
    mode("full")
    monkeypatch.setattr(groups, "train", lambda *arguments: [])
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
    assert len({fingerprint(settings(make())) for make in NETWORKS}) == len(NETWORKS)


@pytest.mark.parametrize("one, other", [
    (dense, frozen), (lambda: wired(True), lambda: wired(False))], ids=["frozen", "wired"])
def test_networks_that_train_differently_have_different_fingerprints(settings, one, other):
    assert fingerprint(settings(one())) != fingerprint(settings(other()))


def test_each_setting_changes_the_fingerprint(settings, few):
    swapped = few._replace(validation=few.test, test=few.validation)
    relabelled = few._replace(train=few.train._replace(labels=few.train.labels[::-1]))
    redrawn = few._replace(test=few.test._replace(images=few.test.images[:, ::-1]))
    fewer = few._replace(train=nets.Examples(few.train.images[:-1], few.train.labels[:-1]))
    changes = [{}, {"epochs": 3}, {"mini_batch_size": 25}, {"learning_rate": 0.2}, {"l2": 0.1},
               {"early_stopping": 3}, {"early_stopping": 4}, {"learning_rate": lambda epoch: 0.1 + epoch},
               *({"data": changed} for changed in (swapped, relabelled, redrawn, fewer))]
    assert len({fingerprint(settings(**change)) for change in changes}) == len(changes)


def test_equal_calls_have_equal_fingerprints(settings):
    """Whatever the layers are called, whatever weights they hold, and for any runs and name."""
    keras.backend.clear_session()
    first = settings(conv(), runs=3)
    network = sequential(nets.ConvPool(4, name="eyes"), nets.Softmax(10, name="mouth"))
    network.build((None, 28, 28, 1))
    assert settings(network, seed=4, name="other", keep_weights=True) == first


def test_describe_does_not_depend_on_names():
    assert describe(wired(True)) == describe(wired(True))
    assert describe(dense()) == describe(sequential(
        nets.FullyConnected(20, name="hidden"), nets.Softmax(10, name="output")))


@pytest.mark.parametrize("make", NETWORKS)
def test_description_survives_json(make):
    network = make()
    network.build((None, 28, 28, 1))
    description = describe(network)
    assert json.loads(json.dumps(description)) == description


# ---- the records of this repository ----

RECORDS = sorted((data.HOME / "runs").glob("*.json"))


@pytest.fixture(params=RECORDS, ids=lambda path: path.stem)
def record(request):
    return request.param, json.loads(request.param.read_text())


def test_record_has_its_fingerprint_and_name(record):
    path, content = record
    assert content["fingerprint"] == fingerprint(content["settings"])
    assert path.stem in (content["name"], f"{content['name']}~{content['fingerprint'][:8]}")


def test_record_is_found_by_its_settings(record, monkeypatch):
    _, content = record
    monkeypatch.setattr(ledger, "HOME", data.HOME)
    assert ledger.Entry(content["name"], content["settings"], None).record() == content


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
    arrays = files.load_arrays(path.with_suffix(".predictions.npz"))
    images, checksum = content["settings"]["data"]["test"]
    result = Result("", {}, content["runs"], [arrays[str(run["seed"])] for run in content["runs"]])
    assert result.predictions.shape == (len(result.runs), images)
    if result.probabilities is not None:
        sums = result.probabilities.sum(axis=-1, dtype=float)  # of ten figures, each rounded to three digits
        np.testing.assert_allclose(sums, 1, atol=10 * 0.0005 + 0.0005)  # the last for float16
    if [images, checksum] != digest(mnist.test):
        pytest.skip("this experiment has a test set of its own")
    for run, answers in zip(result.runs, result.predictions):
        assert (answers == mnist.test.labels).mean() == pytest.approx(run["test_accuracy"][-1], abs=1e-6)


# ---- files of somebody else, or of nobody ----


def weights_of(home):
    return home / "runs/tiny.weights.h5"


def test_two_settings_of_one_name_trained_at_once_keep_their_own_weights(home, train, few, mode):
    """Both looked at the empty ledger before either wrote."""
    networks = [sequential(nets.Softmax(10)) for _ in range(2)]
    results = [train(network, name=None, epochs=epochs) for network, epochs in zip(networks, (1, 2))]
    entries = [ledger.Entry("tiny", result.settings, few.test) for result in results]
    for entry in entries:
        entry.prepare({})
    for entry, result, network in zip(entries, results, networks):
        entry.add(result.runs[0], result.probabilities[0], network)
    mode("recorded")
    for network, epochs in zip(networks, (1, 2)):
        again = sequential(nets.Softmax(10))
        train(again, epochs=epochs, keep_weights=True)
        np.testing.assert_array_equal(again.get_weights()[0], network.get_weights()[0])
    assert abs(networks[0].get_weights()[0] - networks[1].get_weights()[0]).max() > 0


def test_weights_of_a_removed_record_are_not_loaded(home, train, trained, mode):
    train(keep_weights=True)
    (home / "runs/tiny.json").unlink()
    train(learning_rate=0.3)
    mode("recorded")
    with pytest.raises(MissingRecord, match=r"tiny\.weights\.h5 is missing"):
        train(learning_rate=0.3, keep_weights=True)


def test_weights_of_another_seed_are_not_loaded(home, train, trained, mode):
    train(keep_weights=True, runs=2)
    train(keep_weights=True, seed=1)
    assert sorted(trained) == [0, 1, 1]
    mode("recorded")
    with pytest.raises(MissingRecord, match="missing, or of another run"):
        train(keep_weights=True)


def test_swapped_weights_are_noticed(home, train, mode):
    train(name="other", keep_weights=True, epochs=9, learning_rate=0.5)
    train(keep_weights=True)
    with h5py.File(weights_of(home)) as file:
        label = file.attrs["nets"]
    weights_of(home).write_bytes((home / "runs/other.weights.h5").read_bytes())
    mode("recorded")
    network = sequential(nets.Softmax(10))
    with pytest.raises(MissingRecord, match=r"tiny\.weights\.h5 is missing, or of another run"):
        train(network, keep_weights=True)
    with h5py.File(weights_of(home), "a") as file:
        file.attrs["nets"] = label  # as if it belonged here
    with pytest.raises(ValueError, match=r"tiny\.weights\.h5.*run 0 gave other answers.*NETS_MODE=full"):
        train(network, keep_weights=True)
    assert np.ptp(network.get_weights()[0]) == 0  # it keeps what it had


def test_swapped_predictions_are_noticed(home, train, mode):
    train(name="other", epochs=9, learning_rate=0.5)
    train()
    (home / "runs/tiny.predictions.npz").write_bytes((home / "runs/other.predictions.npz").read_bytes())
    mode("recorded")
    with pytest.raises(ValueError, match=r"tiny\.predictions\.npz.*not belong.*run 0 ended with another"):
        train()


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def overwrite(path):
    content = bytearray(path.read_bytes())
    content[40:120] = bytes(80)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, overwrite, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("suffix", [".predictions.npz", ".weights.h5", ".json"])
def test_damaged_files_are_named_with_the_remedy(home, train, mode, damage, suffix):
    train(keep_weights=True)
    damage(home / f"runs/tiny{suffix}")
    mode("recorded")
    with pytest.raises(ValueError, match=rf"tiny{suffix} in the ledger is damaged.*remove"):
        train(keep_weights=True)
    for path in (home / "runs").glob("tiny*"):
        path.unlink()
    mode("full")
    assert train(keep_weights=True).runs  # the remedy helps


@pytest.mark.parametrize("change", [
    lambda record: [], lambda record: {}, lambda record: {**record, "runs": None},
    lambda record: {**record, "runs": [{"seed": 0}]}, lambda record: {**record, "settings": {}},
    lambda record: {**record, "runs": [{**record["runs"][0], "loss": [1.0]}]},
    lambda record: {**record, "runs": [{**record["runs"][0], **{key: [] for key in ledger.HISTORY}}]},
    lambda record: {**record, "runs": [{**record["runs"][0], **{key: [0.5] for key in ledger.HISTORY}}]},
    lambda record: {**record, "runs": [{**record["runs"][0], "validation_accuracy": [0.5, 50]}]},
    lambda record: {**record, "runs": [{**record["runs"][0], "test_accuracy": ["x", "y"]}]},
    lambda record: {**record, "runs": [{**record["runs"][0], "seed": [0]}]},
    lambda record: {key: value for key, value in record.items() if key != "fingerprint"}])
def test_json_that_is_no_record_is_named(home, train, change):
    train()
    path = home / "runs/tiny.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=r"tiny\.json in the ledger is damaged.*remove it and train again"):
        train()


# ---- before anything is trained ----


@pytest.mark.parametrize("name", ["../outside", "a/b", "/tmp/x", "..", ".hidden", "a\\b", "~x", "a~b",
                                  "x" * 101, "字" * 40, "new\nline", 7])
def test_names_that_make_no_file_are_refused(home, train, trained, name):
    with pytest.raises(ValueError, match="name must be letters"):
        train(name=name)
    assert not trained and not list(home.iterdir())


def test_a_ledger_that_cannot_be_written_is_known_beforehand(home, train, trained, monkeypatch):
    def refuse(source, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="cannot be written.*Permission denied.*leave out `name`"):
        train()
    (home / "file").write_text("")
    monkeypatch.setattr(ledger, "HOME", home / "file")
    with pytest.raises(OSError, match="cannot be written.*name another folder in NETS_HOME"):
        train()
    assert not trained


@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "ENOTSUP", "EBADF"])
def test_a_file_system_without_locks_costs_no_run(train, trained, monkeypatch, error):
    def refuse(file, kind):
        raise OSError(getattr(errno, error), "no locks here")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    assert train().runs and train().runs and trained == [0]


# ---- a folder of the reader's ----


@pytest.fixture
def machine_of(home, monkeypatch):
    """Makes a new machine with an empty ledger of the book, and the reader's folder mounted."""
    def start(name):
        monkeypatch.setattr(ledger, "HOME", home / name)
        monkeypatch.setenv("NETS_HOME", str(home / "drive"))
    return start


@pytest.mark.parametrize("next_mode", [None, "recorded", "full"])
def test_records_are_kept_in_the_readers_folder_and_found_by_the_next_machine(
        home, train, trained, mode, machine_of, next_mode):
    machine_of("first")
    network, again = sequential(nets.Softmax(10)), sequential(nets.Softmax(10))
    first = train(network, runs=2, keep_weights=True)
    assert {path.split("/")[0] for path in content(home)} == {"drive"}
    machine_of("second")
    mode(next_mode)
    assert train(again, runs=2, keep_weights=True).runs == first.runs and sorted(trained) == [0, 1]
    np.testing.assert_array_equal(again.get_weights()[0], network.get_weights()[0])


def test_a_killed_run_goes_on_on_the_next_machine(home, train, few, monkeypatch, machine_of):
    whole = train(name=None, epochs=3)
    machine_of("first")
    epochs, one_epoch = [], runs.Trainer.epoch

    def failing(trainer, weights, state, prepared, number, **options):
        if "watch" in options:
            epochs.append(number)
            if epochs == [0, 1]:
                raise RuntimeError("killed")
        return one_epoch(trainer, weights, state, prepared, number, **options)

    monkeypatch.setattr(runs.Trainer, "epoch", failing)
    with pytest.raises(RuntimeError, match="killed"):
        train(epochs=3)
    machine_of("second")
    assert train(epochs=3).runs[0]["loss"] == whole.runs[0]["loss"] and epochs == [0, 1, 1, 2]
    assert not list((home / "drive/checkpoints").iterdir())


def test_the_readers_runs_come_before_the_books_but_where_the_recorded_are_asked_for(
        home, train, trained, mode, monkeypatch, machine_of):
    book = train(runs=2)
    before = content(home)
    machine_of("")
    mode("recorded")
    assert train(runs=2).runs == book.runs
    mode("full")
    train()
    assert sorted(trained) == [0, 0, 1] and before.items() <= content(home).items()
    path = home / "drive/runs/tiny.json"
    path.write_text(path.read_text().replace('"device": "', '"device": "my '))
    for way, whose in ((None, "my "), ("recorded", "")):
        mode(way)
        devices = [run["device"] for run in train(runs=2).runs]
        assert devices == [whose + book.runs[0]["device"], book.runs[1]["device"]]
    with pytest.raises(MissingRecord, match="epochs differ"):
        train(epochs=3)
    assert sorted(trained) == [0, 0, 1]


def test_the_home_folder_may_be_written_as_a_tilde(home, train, few, monkeypatch):
    monkeypatch.setenv("HOME", str(home / "me"))
    monkeypatch.setenv("NETS_HOME", "~/kept")
    entry = Lookup("tiny", {}, few.test, "full").own
    assert entry.checkpoint([0]).parent == home / "me/kept/checkpoints"
    assert entry.path() == home / "me/kept/runs/tiny.json"


def test_what_killed_processes_left_is_swept_by_the_next_call(home, train, trained, few):
    first = train(runs=2)
    entry = ledger.Entry("tiny", first.settings, few.test)
    dead = subprocess.Popen(["true"])
    dead.wait()
    node, runs, checkpoints = platform.node(), home / "runs", home / "checkpoints"
    kept = [runs / f".aside-{node}~{os.getppid()}-x", checkpoints / ".aside-elsewhere~1-x"]
    left = [runs / f".aside-{node}~{dead.pid}-x", checkpoints / f".aside-{node}~{dead.pid}-y",
            checkpoints / ".aside-elsewhere~1-z"]
    for folder in kept + left:
        folder.mkdir(parents=True)
    os.utime(left[-1], (0, 0))
    for seeds in ([0], [0, 1], [1, 2], ["0 (1)"]):  # the last as a Drive names its copies
        files.save_arrays(entry.checkpoint(seeds), {"loss": np.zeros(1)})
    train(runs=3)
    assert trained[2:] == [2] and all(folder.exists() for folder in kept)
    assert not any(folder.exists() for folder in left)
    assert not entry.checkpoint([0]).exists() and not entry.checkpoint([0, 1]).exists()
    assert entry.checkpoint([1, 2]).exists()  # of a group that is not whole


@pytest.mark.parametrize("damage", [cut, overwrite, lambda path: path.write_bytes(b""),
                                    lambda path: files.save_arrays(path, {"loss": np.zeros(1)}),
                                    lambda path: files.save_arrays(path, {**files.load_arrays(path),
                                                                          "variable0": np.zeros((2, 2))}),
                                    lambda path: files.save_arrays(path, {**files.load_arrays(path),
                                                                          "loss": np.zeros(3)})])
def test_a_damaged_checkpoint_is_named_and_blocks_nothing(train, few, damage):
    whole = train(name=None, epochs=3)
    with pytest.raises(FloatingPointError):  # leaves its checkpoint
        train(learning_rate=lambda epoch: 0.1 if epoch < 2 else 1e38, epochs=3)
    wild = [0.1, 0.1, 1e38]
    entry = ledger.Entry("tiny", {**whole.settings, "learning_rate": wild}, few.test)
    mended = ledger.Entry("tiny", whole.settings, few.test)
    os.replace(entry.checkpoint([0]), mended.checkpoint([0]))
    damage(mended.checkpoint([0]))
    with pytest.warns(UserWarning, match=r"checkpoint .*tiny-.*\.npz is of no use.*starts afresh"):
        assert train(epochs=3).runs[0]["loss"] == whole.runs[0]["loss"]
    assert not mended.checkpoint([0]).exists()
