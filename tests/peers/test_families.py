"""Reduced models of every family, made by the peers, read by keshin: the same features and scores.

The peers build and save the models (few and narrow layers, otherwise as published), keshin reads
the folders, and ONNX Runtime and PyTorch must give the peers' features on the same pixels and ids.
"""

import json
import logging
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")
timm = pytest.importorskip("timm")
torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
from open_clip.hf_model import HFTextEncoder  # noqa: E402
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP  # noqa: E402
from open_clip.timm_model import TimmModel  # noqa: E402

from keshin.classify import build_classifier  # noqa: E402
from keshin.core.checkpoint import load_checkpoint  # noqa: E402
from keshin.core.foreign import convert  # noqa: E402
from keshin.encode.runtime import OnnxTowers, onnx_encoder  # noqa: E402
from keshin.encode.torch_towers import TorchTowers, load_model  # noqa: E402

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

LIMIT = 1e-5
TEXTS = (
    "a",
    "A photo of a Cat_and a dog!",
    "a drawing of 3 red birds, &amp; more",
    "化身と猫の写真",
    "one word after another " * 40,
)
HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
logging.getLogger().setLevel(logging.ERROR)


def randomise(model, seed=0):
    """Gains, biases, probes and statistics that initialisation leaves at zero or one."""
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith(("running_mean", "running_var")):
                value.copy_(1 + 0.3 * torch.rand(value.shape, generator=dice))
            elif value.is_floating_point() and value.dim() == 1 and value.numel() > 1:
                noise = 0.2 * torch.randn(value.shape, generator=dice)
                value.copy_(noise if name.endswith("bias") else 1 + noise)
            elif value.is_floating_point() and not value.any():
                value.copy_(0.2 * torch.randn(value.shape, generator=dice))
    return model.eval()


@pytest.fixture(scope="module")
def unigram(tmp_path_factory):
    """A small Unigram tokenizer with T5's or XLM-R's special tokens, saved as transformers does."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    def make(specials, surround, pad):
        backend = Tokenizer(models.Unigram())
        backend.normalizer = normalizers.Sequence([normalizers.NFKC()])
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=specials, unk_token="<unk>", show_progress=False
        )
        backend.train_from_iterator([*TEXTS * 4, "abcdefghijklmnopqrstuvwxyz"], trainer)
        from tokenizers.processors import TemplateProcessing

        named = [(name, backend.token_to_id(name)) for name in specials]
        backend.post_processor = TemplateProcessing(single=surround, special_tokens=named)
        folder = tmp_path_factory.mktemp("vocabulary")
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend, pad_token=pad, eos_token="</s>", unk_token="<unk>"
        )
        fast.padding_side = "right"
        fast.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def t5(unigram):
    return unigram(["<pad>", "</s>", "<unk>"], "$A </s>", "</s>")


@pytest.fixture(scope="module")
def xlmr(unigram):
    return unigram(["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>", "<pad>")


def put_vocabulary(source, folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text((source / name).read_text())


def write_open_clip(folder, model, model_cfg, preprocess_cfg):
    folder.mkdir(exist_ok=True)
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(state, folder / "open_clip_model.safetensors")
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def near(mine, theirs, limit=LIMIT):
    assert mine.shape == theirs.shape
    assert abs(unit(mine) - unit(theirs)).max() < limit
    assert abs(mine - theirs).max() < limit * abs(theirs).max()


def pixels(size, count=3):
    shape = (count, 3, *size)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def compare(folder, scratch, encode_image, encode_text, ids_of):
    """Every engine against the peer's functions; gives the checkpoint."""
    checkpoint = load_checkpoint(convert(folder, scratch))
    config, tokenizer = checkpoint.config, checkpoint.tokenizer()
    x = pixels(config.vision.image_size)
    tokens = tokenizer(TEXTS)
    full = tokens.pad_to(config.text.context_length)
    theirs = ids_of(list(TEXTS), config.text.context_length)
    np.testing.assert_array_equal(full, theirs)
    with torch.inference_mode():
        images = encode_image(torch.from_numpy(x)).numpy()
        texts = encode_text(torch.from_numpy(np.array(full))).numpy()
    for towers in (OnnxTowers(checkpoint, threads=1), TorchTowers(load_model(checkpoint))):
        near(towers.image_features(x), images)
        near(towers.text_features(full, tokens.ends), texts)
    near(onnx_encoder(checkpoint, threads=1).encode_texts(TEXTS), unit(texts))
    return checkpoint


# --- OpenAI's layout of towers in OpenCLIP -------------------------------------------------------

# Name: (image size, vision_cfg, quick_gelu); real kinds and proportions, few layers. OpenCLIP's own
# ResNets take square pictures only; keshin's others are compared with PyTorch in encode/test_graph.py.
OWN = {
    "RN50": (96, {"layers": [1, 1, 2, 1], "width": 64, "patch_size": None}, True),
    "RN101": (96, {"layers": [1, 1, 3, 1], "width": 64, "patch_size": None}, True),
    "RN50x4": (96, {"layers": [1, 1, 1, 1], "width": 80, "patch_size": None}, True),
    "RN50x16": (96, {"layers": [1, 1, 1, 1], "width": 96, "patch_size": None}, True),
    "RN50x64": (64, {"layers": [1, 1, 1, 1], "width": 128, "patch_size": None}, True),
    "ViT-B-32": (96, {"layers": 2, "width": 768, "patch_size": 32}, True),
    "ViT-B-16": (64, {"layers": 2, "width": 768, "patch_size": 16}, False),
    "ViT-L-14": (56, {"layers": 2, "width": 1024, "patch_size": 14}, True),
    "ViT-L-14-336": (84, {"layers": 2, "width": 1024, "patch_size": 14}, True),
    "ViT-H-14": (56, {"layers": 2, "width": 1280, "head_width": 80, "patch_size": 14}, False),
    "ViT-g-14": (
        56,
        {"layers": 2, "width": 1408, "head_width": 88, "mlp_ratio": 4.3637, "patch_size": 14},
        False,
    ),
    "not square": ([64, 96], {"layers": 2, "width": 64, "patch_size": 16}, False),
}


def own_model(name):
    size, vision, quick = OWN[name]
    vision = {"image_size": size, **vision}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
    torch.manual_seed(0)
    built = {**vision, "image_size": tuple(size) if isinstance(size, list) else size}
    model = open_clip.CLIP(32, CLIPVisionCfg(**built), CLIPTextCfg(**text), quick_gelu=quick)
    cfg = {"embed_dim": 32, "quick_gelu": quick, "vision_cfg": vision, "text_cfg": text}
    return randomise(model), cfg


@pytest.mark.parametrize("name", OWN)
def test_openai_families(tmp_path, name):
    model, cfg = own_model(name)
    resize = {"resize_mode": "squash" if "square" in name else "shortest"}
    folder = write_open_clip(tmp_path / "oc", model, cfg, {**HALF, **resize})
    ids = open_clip.tokenizer.SimpleTokenizer(context_length=77)
    compare(
        folder, tmp_path / "k", model.encode_image, model.encode_text,
        lambda texts, length: ids(texts, context_length=length).numpy(),
    )  # fmt: skip


@pytest.mark.parametrize("size", [[48, 48], [64, 112], [96, 80]])
def test_positions_of_another_grid_are_fitted_as_open_clip_does(tmp_path, size):
    """Weights of 64 x 64 pixels in a folder whose configuration asks for another size."""
    cfg = {"layers": 2, "width": 64, "patch_size": 16}
    text = {"width": 64, "heads": 2, "layers": 1}
    small = randomise(open_clip.CLIP(32, CLIPVisionCfg(image_size=64, **cfg), CLIPTextCfg(**text)))
    other = open_clip.CLIP(32, CLIPVisionCfg(image_size=tuple(size), **cfg), CLIPTextCfg(**text))
    state = dict(small.state_dict())
    open_clip.model.resize_pos_embed(state, other)
    other.load_state_dict(state)
    folder = write_open_clip(
        tmp_path / "oc", small,
        {"embed_dim": 32, "vision_cfg": {"image_size": size, **cfg}, "text_cfg": text},
        {**HALF, "resize_mode": "squash"},
    )  # fmt: skip
    checkpoint = load_checkpoint(convert(folder, tmp_path / "k"))
    x = pixels(size)
    with torch.inference_mode():
        theirs = other.eval().encode_image(torch.from_numpy(x)).numpy()
    near(OnnxTowers(checkpoint, threads=1).image_features(x), theirs)


# --- SigLIP --------------------------------------------------------------------------------------

SIGLIP = {  # kind of release: (timm's name, image size, text activation)
    "SigLIP B/16": ("vit_base_patch16_siglip_224", (48, 48), None),
    "SigLIP So400m/14": ("vit_so400m_patch14_siglip_384", (48, 48), None),
    "SigLIP 2 B/32": ("vit_base_patch32_siglip_256", (64, 64), {"approximate": "tanh"}),
    "SigLIP 2 So400m/16, not square": (
        "vit_so400m_patch16_siglip_256", (32, 64), {"approximate": "tanh"},
    ),
    "SigLIP So400m/16 i18n, no projection": ("vit_so400m_patch16_siglip_256", (32, 32), None),
}  # fmt: skip


def siglip_model(kind, vocabulary):
    """``CustomTextCLIP`` as OpenCLIP puts it together, around a narrower timm tower."""
    name, size, act = SIGLIP[kind]
    heads = 16 if "so400m" in name else 12
    width = 8 * heads
    text = {
        "context_length": 64, "vocab_size": vocabulary, "width": 64, "heads": 4, "layers": 2,
        "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6}, "act_kwargs": act,
    }  # fmt: skip
    if "no projection" in kind:
        text |= {"width": width, "proj_type": "none", "proj_bias": False}
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=1, width=16, head_width=16, patch_size=8, image_size=16)
    model = CustomTextCLIP(width, vision, CLIPTextCfg(**text), init_logit_bias=-10)
    tower = TimmModel.__new__(TimmModel)
    torch.nn.Module.__init__(tower)
    tower.trunk = timm.create_model(
        name, num_classes=0, global_pool="map", embed_dim=width, depth=2, num_heads=heads,
        img_size=size,
    )  # fmt: skip
    tower.head = torch.nn.Sequential()
    model.visual = tower
    randomise(model)
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-1.5)
    text |= {"hf_tokenizer_name": "here", "tokenizer_kwargs": {"clean": "canonicalize"}}
    vision = {
        "image_size": list(size), "timm_model_name": name, "timm_pool": "map", "timm_proj": "none",
    }  # fmt: skip
    cfg = {"embed_dim": width, "init_logit_bias": -10, "custom_text": True}
    return model, cfg | {"vision_cfg": vision, "text_cfg": text}


def hf_ids(folder, clean):
    tokenizer = open_clip.tokenizer.HFTokenizer(str(folder), clean=clean)
    return lambda texts, length: tokenizer(texts, context_length=length).numpy()


@pytest.mark.parametrize("kind", SIGLIP)
def test_siglip_of_open_clip(tmp_path, kind, t5):
    model, cfg = siglip_model(kind, 300)
    folder = write_open_clip(tmp_path / "oc", model, cfg, {**HALF, "resize_mode": "squash"})
    put_vocabulary(t5, folder)
    checkpoint = compare(
        folder, tmp_path / "k", model.encode_image, model.encode_text, hf_ids(t5, "canonicalize")
    )
    assert checkpoint.config.score.kind == "sigmoid"
    assert checkpoint.logit_bias == -1.5


@pytest.mark.parametrize("two", [False, True], ids=["SigLIP", "SigLIP 2"])
def test_siglip_of_transformers_with_its_probabilities(tmp_path, two, t5):
    shared = {
        "hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": 2,
        "num_attention_heads": 12,
    }  # fmt: skip
    text = {**shared, "vocab_size": 300, "projection_size": 96}
    vision = {**shared, "image_size": 48, "patch_size": 14 if two else 16}
    if two:  # the giant's text tower is narrower than its image tower
        text |= {"hidden_size": 48, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    model = randomise(transformers.SiglipModel(config))
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
        model.logit_bias.fill_(-1.7)
    folder = tmp_path / "hf"
    model.save_pretrained(folder, max_shard_size="200KB" if two else "5GB")
    assert (folder / "model.safetensors.index.json").is_file() == two
    size = {"height": 48, "width": 48}
    transformers.SiglipImageProcessor(size=size, resample=2 if two else 3).save_pretrained(folder)
    put_vocabulary(t5, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "GemmaTokenizer" if two else "SiglipTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    clean = (
        str.lower if two else lambda text: open_clip.tokenizer.get_clean_fn("canonicalize")(text)
    )
    fast = transformers.PreTrainedTokenizerFast.from_pretrained(t5)

    def ids(texts, length):
        return fast(
            [clean(text) for text in texts], padding="max_length", truncation=True,
            max_length=length, return_tensors="np",
        ).input_ids  # fmt: skip

    checkpoint = compare(
        folder, tmp_path / "k",
        lambda x: model.get_image_features(pixel_values=x).pooler_output,
        lambda x: model.get_text_features(input_ids=x).pooler_output,
        ids,
    )  # fmt: skip
    assert checkpoint.config.preprocess.interpolation == ("bilinear" if two else "bicubic")
    labels = ["cat", "red bird", "dog"]
    classifier = build_classifier(onnx_encoder(checkpoint, threads=1), labels, templates="a {}")
    pictures = [np.random.default_rng(n).integers(0, 256, (60, 50, 3), np.uint8) for n in (1, 2)]
    x = classifier.encoder.preprocess(pictures)
    with torch.inference_mode():
        output = model(
            input_ids=torch.from_numpy(ids([f"a {label}" for label in labels], 64)),
            pixel_values=torch.from_numpy(x),
        )
    probabilities = torch.sigmoid(output.logits_per_image).numpy()
    np.testing.assert_allclose(classifier.predict_proba(pictures), probabilities, atol=LIMIT)
    assert probabilities.sum(axis=1).max() != pytest.approx(1)


# --- XLM-R ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xlm-roberta-base", "xlm-roberta-large"])
def test_xlm_roberta_of_open_clip(tmp_path, name, xlmr):
    heads = 12 if name.endswith("base") else 16
    config = transformers.XLMRobertaConfig(
        vocab_size=300, hidden_size=8 * heads, num_hidden_layers=2, num_attention_heads=heads,
        intermediate_size=150, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
        pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    vision = {"layers": 2, "width": 64, "head_width": 16, "patch_size": 16, "image_size": 32}
    torch.manual_seed(0)
    model = CustomTextCLIP(40, CLIPVisionCfg(**vision), CLIPTextCfg(width=16, heads=1, layers=1))
    model.text = HFTextEncoder(
        name, output_dim=40, config=config, pooler_type="mean_pooler", proj_type="mlp"
    )
    model.text.transformer.pooler = None  # OpenCLIP asks for none where it reads the name
    randomise(model)
    text = {"hf_model_name": name, "hf_tokenizer_name": name, "hf_pooler_type": "mean_pooler"}
    cfg = {"embed_dim": 40, "vision_cfg": vision, "text_cfg": text}
    folder = write_open_clip(tmp_path / "oc", model, cfg, HALF)
    put_vocabulary(xlmr, folder)
    checkpoint = compare(
        folder, tmp_path / "k", model.encode_image, model.encode_text, hf_ids(xlmr, "whitespace")
    )
    assert checkpoint.config.text.trims
    assert checkpoint.config.tokenizer.cleaning == "mend"
