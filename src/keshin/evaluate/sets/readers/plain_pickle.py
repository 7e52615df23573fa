"""Reading pickles of plain data without running any of them: CIFAR's batches.

A pickle is a program for a small stack machine, and Python's own reader calls whatever functions it
names. This one only builds dictionaries, lists, tuples, texts, bytes, numbers and arrays of NumPy;
the functions that NumPy's arrays name in a pickle are recognised by name and their effect is built
here. Everything else is refused. The words of the language are told apart by ``pickletools``.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keshin.errors import DataError

LARGEST = 1 << 30
"""Bytes of a file that is read."""
_MARK = object()


class _Name:
    """A function that a pickle names; it is never looked up."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Kind:
    """NumPy's dtype on its way."""

    def __init__(self, text: str) -> None:
        self.text = text


class _Array:
    """NumPy's array on its way: its state comes after it."""

    def __init__(self) -> None:
        self.value: Any = None

    def fill(self, state: Any) -> None:
        _version, shape, kind, fortran, data = state
        self.value = _array(data, kind, shape, "F" if fortran else "C")


_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_FROM_BUFFER = ("numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer")
_KNOWN = {*_RECONSTRUCT, *_FROM_BUFFER, "numpy ndarray", "numpy dtype", "_codecs encode"}


def read_plain_pickle(path: Path) -> Any:
    """What a pickle of plain data holds. Raises ``DataError`` for anything else; runs nothing."""
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"{path} has more than {LARGEST:,} bytes.")
        return _Machine(path).run(path.read_bytes())
    except DataError:
        raise
    except Exception as error:  # pickletools and NumPy raise anything on hostile bytes
        raise DataError(f"{path} is damaged, or no pickle of plain data: {error}.") from error


class _Machine:
    def __init__(self, path: Path) -> None:
        self.path, self.stack, self.memo = path, list[Any](), dict[int, Any]()

    def run(self, data: bytes) -> Any:
        for word, argument, _place in pickletools.genops(data):
            if word.name == "STOP":
                return _finished(self.stack.pop())
            if word.name in _PUSHED:
                self.stack.append(argument)
            elif word.name in _IGNORED:
                continue
            elif (act := _ACTS.get(word.name)) is not None:
                act(self, argument)
            else:
                raise self.refused(f"the word {word.name}")
        raise DataError(f"{self.path} ends before its pickle does. Fetch it again.")

    def refused(self, what: str) -> DataError:
        return DataError(
            f"{self.path} holds {what}, which files of plain data do not. It was not run. "
            "Fetch the file from its makers; do not open this one with other programs."
        )

    def above_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise DataError(f"{self.path} is damaged: a mark is missing.")

    def name(self, text: str) -> None:
        if text not in _KNOWN:
            raise self.refused(f"a call of {text.replace(' ', '.')}")
        self.stack.append(_Name(text))

    def reduce(self, _argument: Any) -> None:
        given, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Name) or not isinstance(given, tuple):
            raise self.refused("a call of what is no function")
        self.stack.append(_call(function.name, given))

    def build(self, _argument: Any) -> None:
        state, thing = self.stack.pop(), self.stack[-1]
        if isinstance(thing, _Array):
            thing.fill(state)
        elif not isinstance(thing, _Kind):  # a dtype's state says nothing that its text does not
            raise self.refused("an object with a state")

    def set_items(self, items: list[Any]) -> None:
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _call(name: str, given: tuple[Any, ...]) -> Any:
    if name in _RECONSTRUCT:
        return _Array()
    if name == "numpy dtype":
        return _Kind(str(given[0]))
    if name == "_codecs encode":  # how bytes are written in the older formats
        return given[0].encode("latin-1")
    if name in _FROM_BUFFER:
        return _array(given[0], given[1], given[2], given[3])
    raise DataError(f"{name} is called in a way that NumPy's arrays do not use.")


def _array(data: Any, kind: Any, shape: Any, order: str) -> Any:
    if not isinstance(kind, _Kind):
        raise DataError("an array has no type")
    if isinstance(data, str):
        data = data.encode("latin-1")
    dtype = np.dtype(kind.text)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data):
        raise DataError(f"an array of {kind.text} and shape {shape} has {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order=order)  # type: ignore[call-overload]


def _finished(thing: Any) -> Any:
    """The top level with arrays in place; what lies deeper is texts and numbers."""
    if isinstance(thing, _Array):
        return thing.value
    if isinstance(thing, _Kind | _Name):
        raise DataError("it holds a type or a function where data should be")
    if isinstance(thing, dict):
        return {_text(key): _finished(value) for key, value in thing.items()}
    return thing


def _text(key: Any) -> Any:
    return key.decode("latin-1") if isinstance(key, bytes) else key


_PUSHED = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_IGNORED = {"PROTO", "FRAME", "READONLY_BUFFER"}


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _argument: machine.stack.append(make(machine))


def _last(machine: _Machine, count: int) -> tuple[Any, ...]:
    found = tuple(machine.stack[-count:])
    del machine.stack[-count:]
    return found


def _stacked_name(machine: _Machine, _argument: Any) -> None:
    module, name = _last(machine, 2)
    machine.name(f"{module} {name}")


def _append(machine: _Machine, _argument: Any) -> None:
    value = machine.stack.pop()
    machine.stack[-1].append(value)


def _appends(machine: _Machine, _argument: Any) -> None:
    values = machine.above_mark()
    machine.stack[-1].extend(values)


def _dict(machine: _Machine, _argument: Any) -> None:
    items = machine.above_mark()
    machine.stack.append({})
    machine.set_items(items)


def _keep(machine: _Machine, place: Any) -> None:
    machine.memo[place] = machine.stack[-1]


def _get(machine: _Machine, place: Any) -> None:
    machine.stack.append(machine.memo[place])


_ACTS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _push(lambda _: _MARK),
    "NONE": _push(lambda _: None),
    "NEWTRUE": _push(lambda _: True),
    "NEWFALSE": _push(lambda _: False),
    "EMPTY_DICT": _push(lambda _: {}),
    "EMPTY_LIST": _push(lambda _: []),
    "EMPTY_TUPLE": _push(lambda _: ()),
    "TUPLE": _push(lambda machine: tuple(machine.above_mark())),
    "LIST": _push(lambda machine: machine.above_mark()),
    "DICT": _dict,
    "TUPLE1": _push(lambda machine: _last(machine, 1)),
    "TUPLE2": _push(lambda machine: _last(machine, 2)),
    "TUPLE3": _push(lambda machine: _last(machine, 3)),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": lambda machine, _: machine.set_items(list(_last(machine, 2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.above_mark()),
    "PUT": _keep,
    "BINPUT": _keep,
    "LONG_BINPUT": _keep,
    "MEMOIZE": lambda machine, _: _keep(machine, len(machine.memo)),
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": lambda machine, name: machine.name(name),
    "STACK_GLOBAL": _stacked_name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
