"""``keshin export``: the path on standard output, what was checked on standard error."""

from pathlib import Path


def test_export_prints_the_folder_and_the_difference(run_keshin, tiny_folder, tmp_path):
    out = tmp_path / "out"
    done = run_keshin("export", tiny_folder, out, "--format", "transformers")
    assert done.returncode == 0, done.stderr.decode()
    assert Path(done.stdout.decode().strip()) == out
    said = done.stderr.decode()
    assert "model.safetensors" in said
    assert "Checked: the largest difference of weights is 0." in said
    again = run_keshin("export", tiny_folder, out, "--format", "onnx")
    assert again.returncode == 2
    assert "--force" in again.stderr.decode()
    help_text = run_keshin("export", "--help").stdout.decode()
    assert "Examples:" in help_text


def test_a_run_keeps_its_recipe(tmp_path):
    from keshin.cli.train import _keep

    recipe = tmp_path / "mine.toml"
    recipe.write_text('name = "mine"')
    for _ in range(2):
        _keep(recipe, tmp_path / "run")
    kept = tmp_path / "run" / "recipe.toml"
    assert kept.read_text() == 'name = "mine"'
    _keep(kept, tmp_path / "run")
    assert kept.read_text() == 'name = "mine"'
