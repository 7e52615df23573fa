"""The losses are the papers', in blocks and in one; equal captions are no negatives."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from keshin.train import loss as losses  # noqa: E402
from keshin.train.loss import contrastive, distillation, sigmoid  # noqa: E402
from keshin.train.matching import Targets, identity, match  # noqa: E402

RULES = ("equal", "listed", "pair")


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=1)


def own(count):
    return matched([str(n) for n in range(count)])[1]


def matched(drawn, listed=None, rule="equal"):
    numbers = [
        np.array([identity(c) for c in some], np.int64) for some in listed or [()] * len(drawn)
    ]
    return match(np.array([identity(c) for c in drawn], np.int64), numbers, rule)


def blocks_of(monkeypatch, block):
    monkeypatch.setattr(losses, "ROWS", block[0])
    monkeypatch.setattr(losses, "COLUMNS", block[1])


def dense(images, texts, scale, targets: Targets):
    """Figure 3 written down plainly: the whole matrix, masks, autograd."""
    logits = scale * images @ texts.T
    wrong = torch.ones_like(logits, dtype=torch.bool)
    rows = torch.arange(len(images))
    wrong[rows, targets.right] = False
    wrong[targets.neutral[0], targets.neutral[1]] = False
    wrong[:, targets.spare] = False
    chosen = logits[rows, targets.right]
    rivals = logits.masked_fill(~wrong, -math.inf)
    by_row = F.softplus(rivals.logsumexp(1) - chosen).mean()
    by_column = F.softplus(rivals.logsumexp(0)[targets.right] - chosen)
    means = [by_column[targets.right == column].mean() for column in targets.right.unique()]
    return (by_row + torch.stack(means).mean()) / 2


def case(rule, count=23, seed=0):
    """A batch with repeats and lists."""
    rng = np.random.default_rng(seed)
    drawn = [f"c{n}" for n in rng.integers(0, 9, count)]
    listed = [[d, *(f"c{n}" for n in rng.integers(0, 12, 2))] for d in drawn]
    rows, targets = matched(drawn, listed, rule)
    values = [
        unit(count, 7, seed=seed),
        unit(len(rows), 7, seed=seed + 1),
        torch.tensor(9.0).double(),
    ]
    return [v.requires_grad_() for v in values], targets


@pytest.mark.parametrize("block", [(1, 3), (7, 5), (1024, 2048)])
@pytest.mark.parametrize("rule", RULES)
def test_loss_and_gradients_equal_the_dense_ones(rule, block, monkeypatch):
    blocks_of(monkeypatch, block)
    for seed in range(5):
        values, targets = case(rule, seed=seed)
        got = contrastive(*values, targets)
        expected = dense(*values, targets)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
        for ours, theirs in zip(
            torch.autograd.grad(3 * got, values),
            torch.autograd.grad(3 * expected, values),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_float32_equals_the_dense_loss_to_a_millionth(monkeypatch):
    blocks_of(monkeypatch, (64, 100))
    count = 512
    values = [unit(count, 64).float(), unit(count, 64, seed=1).float(), torch.tensor(100.0)]
    values = [v.requires_grad_() for v in values]
    got, expected = (f(*values, own(count)) for f in (contrastive, dense))
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(got, values), torch.autograd.grad(expected, values), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_figure_3_of_the_paper():
    images, texts, scale = unit(9, 5), unit(9, 5, seed=1), torch.tensor(14.3)
    logits = images @ texts.T * scale
    labels = torch.arange(9)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    assert torch.allclose(contrastive(images, texts, scale, own(9)), expected, atol=1e-12)


def test_chance_is_ln_of_the_batch():
    same = unit(1, 5).expand(7, 5)
    loss = contrastive(same, same, torch.tensor(10.0), own(7))
    assert float(loss) == pytest.approx(math.log(7))


def test_equal_captions_are_one_column_and_no_negatives():
    rows, targets = matched(["cat", "dog", "cat"])
    assert rows.tolist() == [0, 1]
    assert targets.right.tolist() == [0, 1, 0]
    images = unit(2, 8)
    perfect = contrastive(images[[0, 1, 0]], images, torch.tensor(100.0), targets)
    assert float(perfect) == pytest.approx(0.0, abs=1e-3)  # both pictures of "cat" can be right


def test_a_batch_of_one_caption_has_no_loss_and_a_gradient():
    images = unit(4, 6).requires_grad_()
    loss = contrastive(images, unit(1, 6), torch.tensor(9.0), matched(["cat"] * 4)[1])
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(images.grad, torch.zeros_like(images))


def test_different_captions_make_equal_the_pair_rule():
    for rule in RULES:
        rows, targets = matched(["a", "b", "c"], [["a"], ["b"], ["c"]], rule)
        assert rows.tolist() == targets.right.tolist() == [0, 1, 2]
        assert targets.neutral.shape == (2, 0)
        assert not targets.spare.any()


def test_listed_captions_are_not_wrong_though_another_was_drawn():
    listed = [["tabby", "cat"], ["persian", "cat"], ["poodle", "dog"]]
    _, targets = matched(["cat", "persian", "dog"], listed, "listed")
    assert targets.right.tolist() == [0, 1, 2]
    assert targets.neutral.tolist() == [[1], [0]]


def test_pair_keeps_repeats_apart():
    rows, targets = matched(["cat", "cat"], [["cat"], ["cat"]], "pair")
    assert rows.tolist() == targets.right.tolist() == [0, 1]


def test_sigmoid_is_the_paper_of_siglip(monkeypatch):
    images, texts = unit(6, 5).requires_grad_(), unit(6, 5, seed=1).requires_grad_()
    scale, bias = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (10.0, -9.0))
    signs = 2 * torch.eye(6) - 1
    expected = -F.logsigmoid(signs * (scale * images @ texts.T + bias)).sum() / 6
    values = (images, texts, scale, bias)
    wanted = torch.autograd.grad(expected, values)
    for block in ((1, 6), (4, 5), (1024, 2048)):
        blocks_of(monkeypatch, block)
        got = sigmoid(*values, own(6))
        torch.testing.assert_close(got, expected)
        for ours, theirs in zip(torch.autograd.grad(got, values), wanted, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_distillation_is_least_where_the_student_agrees():
    images, concepts, scale = unit(5, 8), unit(6, 8, seed=2), torch.tensor(20.0)
    agreeing = F.log_softmax(scale * images @ concepts.T, dim=1)
    best = distillation(images, concepts, scale, agreeing, 2.0).mean()
    worse = distillation(images, concepts, scale, agreeing.roll(1, dims=1), 2.0).mean()
    entropy = -(F.softmax(agreeing / 2, 1) * F.log_softmax(agreeing / 2, 1)).sum(1).mean() * 4
    assert float(best) == pytest.approx(float(entropy))
    assert worse > best
