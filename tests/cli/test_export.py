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
