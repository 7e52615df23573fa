"""The loss is the paper's where captions are different, and sensible where they repeat."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from keshin.train.loss import NEUTRAL, contrastive, distillation, match  # noqa: E402


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=1)


def test_figure_3_of_the_paper() -> None:
    images, texts, scale = unit(9, 5), unit(9, 5, seed=1), torch.tensor(14.3)
    logits = images @ texts.T * scale
    labels = torch.arange(9)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    got = contrastive(images, texts, scale, torch.eye(9, dtype=torch.float64))
    assert torch.allclose(got, expected, atol=1e-12)


def test_chance_is_ln_of_the_batch() -> None:
    same = unit(1, 5).expand(7, 5)
    loss = contrastive(same, same, torch.tensor(10.0), torch.eye(7, dtype=torch.float64))
    assert float(loss) == pytest.approx(math.log(7))


def test_equal_captions_are_no_negatives() -> None:
    captions, targets = match(["cat", "dog", "cat"], [["cat"], ["dog"], ["cat"]], "equal")
    assert captions == ["cat", "dog"]
    assert targets.tolist() == [[1, 0], [0, 1], [1, 0]]
    images = unit(2, 8)
    perfect = contrastive(images[[0, 1, 0]], images, torch.tensor(100.0), targets.double())
    assert float(perfect) == pytest.approx(0.0, abs=1e-3)  # both pictures of "cat" can be right


def test_right_answers_do_not_compete() -> None:
    images, texts = unit(1, 6), unit(5, 6, seed=1)
    targets = torch.tensor([[1.0, 1, 0, 0, 0]], dtype=torch.float64)
    logits = (7.0 * images @ texts.T)[0]
    each = [F.cross_entropy(logits[[i, 2, 3, 4]][None], torch.tensor([0])) for i in (0, 1)]
    rows = torch.stack(each).mean()
    columns = 0.0  # a single picture has no rival
    got = contrastive(images, texts, torch.tensor(7.0), targets)
    assert torch.allclose(got, (rows + columns) / 2)


def test_a_batch_of_one_caption_has_no_loss_and_a_gradient() -> None:
    images = unit(4, 6).requires_grad_()
    loss = contrastive(images, unit(1, 6), torch.tensor(9.0), torch.ones(4, 1))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()


def test_different_captions_make_equal_the_pair_rule() -> None:
    drawn, listed = ["a", "b", "c"], [["a"], ["b"], ["c"]]
    for rule in ("equal", "listed", "pair"):
        captions, targets = match(drawn, listed, rule)
        assert captions == drawn
        assert torch.equal(targets, torch.eye(3))


def test_listed_captions_are_not_wrong_though_another_was_drawn() -> None:
    listed = [["tabby", "cat"], ["persian", "cat"], ["poodle", "dog"]]
    captions, targets = match(["cat", "persian", "dog"], listed, "listed")
    assert captions == ["cat", "persian", "dog"]
    assert targets.tolist() == [[1, 0, 0], [NEUTRAL, 1, 0], [0, 0, 1]]


def test_neutral_captions_change_nothing() -> None:
    images, texts = unit(2, 6), unit(3, 6, seed=1)
    targets = torch.tensor([[1, 0, NEUTRAL], [0, 1, NEUTRAL]], dtype=torch.float64)
    got = contrastive(images, texts, torch.tensor(7.0), targets)
    without = contrastive(images, texts[:2], torch.tensor(7.0), targets[:, :2])
    assert torch.allclose(got, without)


def test_pair_keeps_repeats_apart() -> None:
    captions, targets = match(["cat", "cat"], [["cat"], ["cat"]], "pair")
    assert captions == ["cat", "cat"]
    assert torch.equal(targets, torch.eye(2))


def test_rows_and_columns_without_an_answer_do_not_count() -> None:
    images, texts = unit(3, 6), unit(4, 6, seed=1)
    targets = torch.zeros(3, 4, dtype=torch.float64)
    targets[0, 0] = targets[1, 1] = 1
    logits = 5.0 * images @ texts.T
    rows = F.cross_entropy(logits[:2], torch.tensor([0, 1]))
    columns = F.cross_entropy(logits.T[:2], torch.tensor([0, 1]))
    got = contrastive(images, texts, torch.tensor(5.0), targets)
    assert torch.allclose(got, (rows + columns) / 2)


def test_gradients() -> None:
    images = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    texts = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.float64)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda i, t, s: contrastive(i, t, s, targets), (images, texts, scale)
    )


def test_distillation_is_least_where_the_student_agrees() -> None:
    images, concepts, scale = unit(5, 8), unit(6, 8, seed=2), torch.tensor(20.0)
    agreeing = F.log_softmax(scale * images @ concepts.T, dim=1)
    best = distillation(images, concepts, scale, agreeing, 2.0)
    worse = distillation(images, concepts, scale, agreeing.roll(1, dims=1), 2.0)
    entropy = -(F.softmax(agreeing / 2, 1) * F.log_softmax(agreeing / 2, 1)).sum(1).mean() * 4
    assert float(best) == pytest.approx(float(entropy))
    assert worse > best
