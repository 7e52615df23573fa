"""Made weights of a small supervised ResNet, in the names and layouts of torchvision and timm."""

import json

import torch

from keshin.core.tensors import write_tensors

STAGES, WIDTH, CLASSES = (2, 1, 2, 1), 8, 5


def weights(stages=STAGES, width=WIDTH, seed=0):
    """A state dict in torchvision's names, whose numbers are all of consequence."""
    make, state = torch.Generator().manual_seed(seed), {}

    def conv(name, out, inputs, side):
        size = (out, inputs, side, side)
        state[f"{name}.weight"] = torch.randn(size, generator=make) / (inputs * side * side) ** 0.5

    def norm(name, channels):
        state[f"{name}.weight"] = 1 + 0.2 * torch.randn(channels, generator=make)
        state[f"{name}.bias"] = 0.2 * torch.randn(channels, generator=make)
        state[f"{name}.running_mean"] = 0.2 * torch.randn(channels, generator=make)
        state[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=make)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("conv1", width, 3, 7), norm("bn1", width)
    channels = width
    for stage, count in enumerate(stages, start=1):
        planes = width * 2 ** (stage - 1)
        for index in range(count):
            name = f"layer{stage}.{index}"
            conv(f"{name}.conv1", planes, channels, 1), norm(f"{name}.bn1", planes)
            conv(f"{name}.conv2", planes, planes, 3), norm(f"{name}.bn2", planes)
            conv(f"{name}.conv3", 4 * planes, planes, 1), norm(f"{name}.bn3", 4 * planes)
            if index == 0:
                conv(f"{name}.downsample.0", 4 * planes, channels, 1)
                norm(f"{name}.downsample.1", 4 * planes)
            channels = 4 * planes
    state["fc.weight"] = torch.randn(CLASSES, channels, generator=make) / channels**0.5
    state["fc.bias"] = torch.randn(CLASSES, generator=make)
    return state


def stored(folder, state):
    path = folder / "model.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(path, {name: value.numpy() for name, value in state.items()})
    return path


def timm_config(**changes):
    facts = {
        "input_size": [3, 48, 48], "interpolation": "bilinear", "crop_pct": 0.857,
        "crop_mode": "center", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        "license": "bsd-3-clause",
    }  # fmt: skip
    return json.dumps({"architecture": "resnet50", "pretrained_cfg": facts | changes})
