"""What decides a run, as plain data: networks, optimizers, functions, data; and the fingerprint of all.

What cannot be told apart from something else is refused by name.
"""

import dis
import functools
import hashlib
import inspect
import json
import numbers
import pathlib
import sys
import textwrap
import types

import keras
import numpy as np


def fingerprint(settings):
    """16 hexadecimal digits that differ whenever any setting does."""
    return _sum(json.dumps(settings, sort_keys=True).encode())


def digest(part):
    """Number of images and the start of a SHA-256 sum of images and labels.

    The bytes alone are summed where they leave only one reading: square images of one channel in
    bytes, labels in 32 bits. For all others types and shapes are part of the sum.
    """
    images, labels = np.ascontiguousarray(part.images), np.ascontiguousarray(part.labels)
    count, height, width, channels = images.shape
    kind = images.dtype, labels.dtype, labels.shape, height, channels
    usual = kind == (np.uint8, np.int32, (count,), width, 1)
    what = b"" if usual else f"{images.dtype} {images.shape} {labels.dtype} {labels.shape}".encode()
    return [len(labels), _sum(what, images, labels)]


def describe(network):
    """A network as plain data, the same for equal networks: a list with a dict for each layer.

    Names are left out, and so is the type float32. A layer that is not simply fed by the one before
    it lists the numbers of those that feed it. What the reader wrote himself, a class of layers or a
    function of activation, brings its source along.
    """
    def sources(value):
        if isinstance(value, dict):
            if "keras_history" in value:
                return [position[value["keras_history"][0]]]
            value = value.values()
        elif not isinstance(value, (list, tuple)):
            return []
        return [source for part in value for source in sources(part)]

    described = []
    for layer in network.layers:
        config = {key: value for key, value in plain(layer.get_config()).items()
                  if key not in ("name", "dtype", "trainable")}
        if layer.dtype_policy.name != "float32":
            config["dtype"] = layer.dtype_policy.name
        if not layer.trainable:
            config["trainable"] = False
        if own := own_parts(*layer._flatten_layers()):
            config["source"] = [source(thing) for thing in own]
            config["state"] = [_state(part) for part in layer._flatten_layers() if own_parts(part)]
        if weights := [weight for part in kept(layer) for weight in part.get_weights()]:
            config["weights"] = _sum(*map(np.ascontiguousarray, weights))
        described.append({type(layer).__name__: config})
    if not isinstance(network, keras.Sequential):
        position = {layer.name: number for number, layer in enumerate(network.layers)}
        nodes = network.get_config()["layers"]
        if len(nodes) != len(described):
            raise ValueError("The network computes with operators between its layers: put layers in their "
                             "place, as keras.layers.Add() or keras.layers.Rescaling(...).")
        for layer, node in zip(described, nodes, strict=True):
            layer["from"] = sources(node["inbound_nodes"])
    return described


def kept(layer):
    """The parts of a layer or network whose weights are neither drawn nor learned: frozen, or adapted."""
    return [part for part in layer._flatten_layers() if not part.trainable or hasattr(part, "adapt")]


def describe_optimizer(optimizer):
    """A Keras optimizer, with its schedule, as plain data: ["Adam", {"learning_rate": 0.001, ...}]."""
    config = {key: value for key, value in plain(optimizer.get_config()).items() if key != "name"}
    if own := own_parts(optimizer):
        config["source"] = [source(thing) for thing in own]
    return [type(optimizer).__name__, config]


def describe_function(function):
    """A function, and what functools.partial bound to it, as plain data: ["elastic", {"alpha": 20.0}].

    One that is not of `nets` or a library also brings its source, and the values that it takes from
    around it.
    """
    bound = isinstance(function, functools.partial)
    inner, settings = (function.func, function.keywords) if bound else (function, {})
    name = getattr(inner, "__name__", "<lambda>")
    if not isinstance(inner, types.FunctionType) or name == "<lambda>" or (bound and function.args):
        raise ValueError(f"The ledger must be able to tell augmentations apart, as it cannot {function!r}: "
                         "define a function with a name, and bind its settings by their names, as in "
                         "functools.partial(nets.elastic, alpha=20.0).")
    described = [name, {key: plain(value, f"{key} of {name}") for key, value in settings.items()}]
    return described if _of_a_library(inner) else [*described, source(inner)]


def plain(value, what="a setting"):
    """The value as JSON has it, without what is None.

    Raises
    ------
    ValueError, for a thing that plain data cannot tell from others of its kind; `what` names it
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, dict) and "class_name" in value and "config" in value:
        config, named = value["config"], "DTypePolicy" not in value["class_name"]
        if named and isinstance(config, dict):  # a layer inside another: its name decides nothing
            config = {key: v for key, v in config.items() if key != "name"}
        return {value["class_name"]: plain(config, what)}
    if isinstance(value, dict):
        return {str(key): plain(v, what) for key, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [plain(v, what) for v in value]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {"array": [str(value.dtype), list(value.shape), _sum(np.ascontiguousarray(value))]}
    if isinstance(value, functools.partial):
        return describe_function(value)
    if isinstance(value, types.FunctionType):
        return [value.__name__] if _of_a_library(value) else [value.__name__, source(value)]
    if hasattr(value, "get_config"):  # Keras' own way to plain data
        return {type(value).__name__: {key: v for key, v in plain(value.get_config(), what).items()
                                       if key != "name"}}
    raise ValueError(f"The ledger cannot tell {what}, a {type(value).__name__}, from others of its kind: use "
                     "numbers, strings, arrays or functions, or bind such with functools.partial.")


def source(thing, above=()):
    """What a function or class of the reader's does: the sum of its source, and what it uses by name."""
    above, around = (*above, thing), {}
    if isinstance(thing, type):
        names = {f"base {i}": base for i, base in enumerate(thing.__bases__)}
        names |= {name: getattr(part, "__func__", part) for name, part in vars(thing).items()
                  if not name.startswith("__") or isinstance(part, types.FunctionType)}
        names |= {name: [part.fget, part.fset] for name, part in names.items() if isinstance(part, property)}
        names = {name: part for name, part in names.items() if not name.startswith("_abc")}
    else:
        try:
            around[""] = _sum(textwrap.dedent(inspect.getsource(thing.__code__)).encode())
        except (OSError, TypeError):
            raise ValueError(f"The ledger must know what {thing.__name__} does, and its source cannot be "
                             "read: define it in a cell or in a file.") from None
        names = _names_around(thing)
    for name, value in names.items():
        own = not _of_a_library(value)
        if isinstance(value, types.ModuleType):
            if not _of_a_library(types.SimpleNamespace(__module__=value.__name__)):
                raise ValueError(f"The ledger cannot tell what {thing.__name__} takes from your module "
                                 f"{value.__name__}: import by name what you need of it.")
            around[name] = value.__name__
        elif isinstance(value, (type, types.FunctionType)) and own:
            around[name] = value.__name__ if value in above else source(value, above)
        elif isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)):
            around[name] = value.__name__
        else:
            around[name] = plain(value, f"{name}, which {thing.__name__} uses")
    return around


def _names_around(function):
    """The names that a function takes from outside, and their values now."""
    parameters = inspect.signature(function).parameters.values()
    values = {p.name: p.default for p in parameters if p.default is not p.empty}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    values.update({name: cell.cell_contents for name, cell in cells})
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        taken = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
        values.update({name: function.__globals__[name] for name in sorted(taken & {*function.__globals__})})
    return values


def _state(layer):
    """Numbers, texts and arrays that a reader's layer keeps: they may have been set after it was made."""
    usual = vars(keras.layers.Layer())
    return {name: plain(value) for name, value in vars(layer).items()
            if name not in usual and not name.startswith("_self_")  # which are TensorFlow's
            and isinstance(value, (str, numbers.Number, np.ndarray))}


def own_parts(*objects):
    """What the reader wrote himself of these layers or this optimizer: classes and functions."""
    found = []
    for each in objects:
        things = [each, *(part for name, part in vars(each).items() if not hasattr(type(each), name))]
        found += [thing if isinstance(thing, types.FunctionType) else type(thing) for thing in things
                  if callable(thing) and not isinstance(thing, type) and not _of_a_library(thing)
                  or thing is each and not _of_a_library(thing)]
    return list(dict.fromkeys(found))


def _of_a_library(thing):
    """Whether a class, a function or an object's class comes from `nets`, Python or an installed package."""
    root = (getattr(thing, "__module__", None) or type(thing).__module__).partition(".")[0]
    mine = root == "__main__" or (root == "builtins" and isinstance(thing, types.FunctionType))  # by exec
    return not mine and (root == "nets" or root in sys.stdlib_module_names or _installed(root))


@functools.cache
def _installed(root):
    """Whether the package or module of this name lies where pip or a distribution installed it."""
    file = pathlib.Path(getattr(sys.modules.get(root), "__file__", None) or "")
    known = {"site-packages", "dist-packages"} & {*file.parts}
    beside = (folder.glob("*.dist-info") for folder in file.parents[:2] if file.name)  # pip's --target
    return bool(known) or any(map(any, beside))


def _sum(*parts):
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()[:16]
