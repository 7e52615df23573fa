"""The public names: complete, documented, and cheap to import."""

import contextlib
import inspect
import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import keshin

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "onnx", "onnxruntime", "tokenizers", "PIL", "numpy", "rich", "click", "ftfy"]
PUBLIC_MODULES = ["keshin.api", "keshin.classify", "keshin.encode.encoder", "keshin.errors"]


def in_a_fresh_process(code):
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(keshin.__file__).parents[1])!r})\n{code}"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


def test_all_is_sorted_complete_and_there():
    assert keshin.__all__ == sorted(keshin.__all__, key=lambda name: (name.islower(), name))
    assert set(keshin._HOMES) | {"__version__"} == set(keshin.__all__)
    for name in keshin.__all__:
        assert getattr(keshin, name) is not None
        assert name in dir(keshin)
    # and the names shown to type checkers are the same
    shown = {
        alias.name
        for node in __import__("ast").walk(
            __import__("ast").parse(Path(keshin.__file__).read_text())
        )
        if node.__class__.__name__ == "ImportFrom" and node.module.startswith("keshin.")
        for alias in node.names
    }
    assert shown == set(keshin._HOMES)


def test_star_import_and_unknown_names():
    assert "Model" in in_a_fresh_process("from keshin import *; print(sorted(globals()))")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = keshin.nonsense


def public_things():
    for name in keshin.__all__:
        thing = getattr(keshin, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            yield name, thing


@pytest.mark.parametrize(("name", "thing"), list(public_things()))
def test_public_things_are_documented_and_annotated(name, thing):
    assert inspect.getdoc(thing), f"{name} has no docstring"
    members = vars(thing).items() if inspect.isclass(thing) else [(name, thing)]
    for member_name, member in members:
        if member_name.startswith("_"):
            continue
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function):
            assert inspect.getdoc(function), f"{name}.{member_name} has no docstring"
            signature = inspect.signature(function)
            assert signature.return_annotation is not signature.empty
            for parameter in signature.parameters.values():
                assert parameter.name == "self" or parameter.annotation is not parameter.empty


def test_every_error_of_the_tree_is_public():
    from keshin import errors

    defined = {
        name for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, errors.KeshinError)
    }  # fmt: skip
    assert defined <= set(keshin.__all__)
    for name in defined:
        assert name in errors.__doc__


def test_import_loads_nothing_heavy():
    code = f"import keshin, json; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    assert json.loads(in_a_fresh_process(code)) == []


def test_help_loads_nothing_heavy():
    code = (
        "import json\nfrom keshin.cli.main import main\n"
        "for arguments in (['--help'], ['classify', '--help'], ['info', '--help']):\n"
        "    main(arguments, standalone_mode=False)\n"
        f"print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    assert json.loads(in_a_fresh_process(code).splitlines()[-1]) == ["click"]


def test_inference_never_loads_torch(tiny_folder, pictures):
    code = (
        "import keshin\n"
        f"model = keshin.load({str(tiny_folder)!r}, threads=1)\n"
        f"model.classifier(['cat', 'dog']).predict([{str(pictures / 'red.png')!r}])\n"
        "print([m for m in ('torch', 'pyarrow', 'rich', 'click') if m in sys.modules])"
    )
    assert in_a_fresh_process(code).strip() == "[]"


def test_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == keshin.__version__
    with contextlib.suppress(metadata.PackageNotFoundError):  # run from the source tree
        assert metadata.version("keshin") == keshin.__version__


def test_model_in_numpy_out(tiny_folder, pictures):
    model = keshin.load(tiny_folder, threads=1)
    vectors = model.encode_images([pictures / "red.png", np.zeros((9, 9, 3), np.uint8)])
    assert vectors.shape == (2, 16)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert model.encode_texts(["a", "b", "c"]).shape == (3, 16)
    assert model.preprocess([pictures / "red.png"]).shape == (1, 3, 16, 16)
    assert model.name == "tiny"
    assert "tiny" in repr(model)


def test_long_text_warns(tiny_folder):
    model = keshin.load(tiny_folder, threads=1)
    with pytest.warns(UserWarning, match="its end is not seen"):
        model.encode_texts(["word " * 50])


def test_load_by_fact_sheet_and_unknown_names(tiny_folder, tmp_path):
    assert keshin.load(tiny_folder / "keshin.json", threads=1).name == "tiny"
    with pytest.raises(keshin.CheckpointError, match="no model 'nix'"):
        keshin.load("nix")
    with pytest.raises(keshin.CheckpointError, match="none of the layouts"):
        keshin.load(tmp_path)
