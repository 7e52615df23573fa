"""The whole ResNet-50 of random weights: torchvision's and ours give the same numbers."""

import numpy as np
import pytest

torchvision = pytest.importorskip("torchvision")
import torch  # noqa: E402

from keshin.core.tensors import write_tensors  # noqa: E402
from keshin.evaluate.probes.supervised import load_supervised  # noqa: E402

pytestmark = [pytest.mark.peers, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_torchvisions_features_and_logits(tmp_path, name):
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    for key, value in model.named_buffers():
        if key.endswith("running_mean"):
            value.copy_(0.1 * torch.randn(value.shape))
        if key.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape))
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        logits = model(x).numpy()
        features = torch.nn.Sequential(*list(model.children())[:-1])(x).flatten(1).numpy()
    path = tmp_path / "model.safetensors"
    write_tensors(path, {key: value.numpy() for key, value in model.state_dict().items()})
    for output, expected in (("features", features), ("logits", logits)):
        network = load_supervised(path, preprocess="torchvision-v1", output=output)
        found = network.encode(x.numpy())
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
