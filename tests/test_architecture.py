"""The shape of the package: who may import whom, which package lives where, how long a module is."""

import ast
import importlib
import sys
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

import keshin

PACKAGE = Path(keshin.__file__).parent
INFERENCE = {"errors", "facts", "core", "encode"}
MEASURED = INFERENCE | {"statistics", "classify", "search"}
BELOW = {  # layer -> the layers that it may import; imports point downwards only
    "errors": set(),
    "facts": {"errors"},
    "core": {"errors", "facts"},
    "encode": {"errors", "facts", "core"},
    "statistics": {"errors"},
    "pages": {"errors", "facts", "core", "statistics"},
    "classify": INFERENCE | {"statistics"},
    "search": INFERENCE | {"statistics", "pages"},
    "api": MEASURED,
    "exporting": INFERENCE | {"statistics", "classify", "api", "pages"},
    "evaluate": MEASURED | {"api", "pages"},
    "watch": INFERENCE | {"statistics", "pages"},
    "train": INFERENCE | {"pages"},
    "finetune": MEASURED | {"api", "evaluate", "train", "exporting"},
    "serve": MEASURED | {"api", "pages", "evaluate"},
    "cli": MEASURED
    | {"pages", "exporting", "api", "evaluate", "train", "finetune", "serve", "watch"},
    "__init__": MEASURED | {"exporting", "api", "evaluate", "finetune"},
    "__main__": {"cli"},
}
HOME = {  # third-party package -> the only places that may import it
    "torch": ("encode/torch_", "train/", "finetune/torch_"),
    "pyarrow": ("train/", "evaluate/", "finetune/"),
    "fsspec": ("train/remote.py",),
    "onnx": ("encode/",),
    "onnxruntime": ("encode/runtime.py", "encode/onnx_check.py"),
    "openvino": ("encode/openvino.py",),
    "tokenizers": ("core/tokenizer.py", "core/foreign/"),
    "safetensors": ("core/", "classify/saved.py"),
    "PIL": (
        "core/",
        "pages/",
        "classify/classifier.py",
        "train/",
        "evaluate/",
        "finetune/",
        "watch/samples.py",
    ),
    "huggingface_hub": ("core/hub.py", "core/download.py"),
    "httpx2": ("core/hub.py", "core/download.py", "core/transfer.py", "core/polite.py"),
    "ftfy": ("core/cleaning.py",),
    "sklearn": ("evaluate/", "statistics/"),
    "scipy": ("evaluate/", "statistics/"),
    "h5py": ("evaluate/sets/readers/",),
    "av": ("evaluate/sets/readers/",),
    "threadpoolctl": ("evaluate/",),
    "markupsafe": ("pages/",),
    "starlette": ("serve/",),
    "uvicorn": ("serve/",),
    "jinja2": ("pages/",),
    "click": ("cli/",),
    "rich": ("cli/",),
}
ANYWHERE = {"numpy", "msgspec"}
PICKLED = (
    "core/foreign/",
    "train/",
    "finetune/torch_",
)  # through torch.load(weights_only=True), which raises its errors
LONGEST = 350
MODULES = sorted(PACKAGE.rglob("*.py"))
each_module = pytest.mark.parametrize(
    "path", MODULES, ids=[path.relative_to(PACKAGE).as_posix() for path in MODULES]
)


def imported(path):
    """Every name imported anywhere in the file, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full, from keshin..."
            yield node.module


@each_module
def test_module_keeps_to_its_layer(path):
    where = path.relative_to(PACKAGE).as_posix()
    layer = where.split("/")[0].removesuffix(".py")
    assert layer in BELOW, f"{where}: say in this test where the layer '{layer}' stands"
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top == "keshin":
            target = rest.split(".")[0]  # empty: "from keshin import __version__"
            allowed = target in {layer, ""} or target in BELOW[layer]
            assert allowed, f"{where} (layer {layer}) may not import {name}"
        elif top in HOME:
            assert where.startswith(HOME[top]), f"{where} may not import {top}: only {HOME[top]}"
        else:
            known = top in ANYWHERE or top in sys.stdlib_module_names
            assert known, f"{where} imports {top}: say in this test where it may live"


def names_taken_from_the_top(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "keshin":
            yield from (alias.name for alias in node.names)


@each_module
def test_module_does_not_hide_a_layer(path):
    hidden = set(names_taken_from_the_top(path)) - {"__version__"}
    if path.is_relative_to(PACKAGE / "cli"):
        hidden -= {"api"}  # the layer itself
    assert not hidden, f"{path}: import {hidden} from where they are defined"


@each_module
def test_module_is_short_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    length = len(text.splitlines())
    assert length <= LONGEST, f"{path} has {length} lines: split it by what changes together"
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


@each_module
def test_module_unpickles_nothing(path):
    where = path.relative_to(PACKAGE).as_posix()
    if not where.startswith(PICKLED):
        assert not {"pickle", "shelve", "dill", "joblib"} & set(imported(path))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("weights_only") == "True", f"{where}: torch.load without weights_only"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("allow_pickle", "False") == "False", f"{where}: np.load with pickle"


def crashes_msgspec(annotation: Any) -> bool:
    """Whether a type is, or holds, a union of a bounded number and a tuple of fixed length.

    msgspec 0.22.0 ends the interpreter when it reads or frees such a field (docs/decisions.md).
    """
    parts = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        bounded = any(get_origin(p) is Annotated and get_args(p)[0] in (int, float) for p in parts)
        fixed = any(get_origin(p) is tuple and Ellipsis not in get_args(p) for p in parts)
        if bounded and fixed:
            return True
    return any(crashes_msgspec(part) for part in parts if not isinstance(part, msgspec.Meta))


def test_the_annotation_that_crashes_is_recognised():
    number, size = Annotated[int, msgspec.Meta(gt=0)], tuple[int, int]
    assert crashes_msgspec(number | size)
    assert crashes_msgspec(list[size | number | None])
    assert crashes_msgspec(tuple[float, float] | Annotated[float, msgspec.Meta(ge=0)] | None)
    for harmless in (
        number | list[int],
        int | size,
        number | tuple[int, ...],
        tuple[number, number],
    ):
        assert not crashes_msgspec(harmless)


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if "msgspec" in path.read_text(encoding="utf-8")],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_no_struct_has_the_annotation_that_crashes_msgspec(path):
    name = ".".join(("keshin", *path.relative_to(PACKAGE).with_suffix("").parts))
    try:
        module = importlib.import_module(name.removesuffix(".__init__"))
    except ImportError as error:
        pytest.skip(f"needs {error.name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, msgspec.Struct):
            for field, annotation in get_type_hints(value, include_extras=True).items():
                assert not crashes_msgspec(annotation), f"{name}.{value.__name__}.{field}"


def test_imports_have_no_cycle():
    graph = {}
    for path in MODULES:
        module = ".".join(("keshin", *path.relative_to(PACKAGE).with_suffix("").parts))
        graph[module.removesuffix(".__init__")] = set(top_level_imports(path))
    done = set()

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail, module])
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, [*trail, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def top_level_imports(path):
    """keshin's modules that are imported when this one is, but for its own package."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("keshin."))
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("keshin."):
            yield node.module
