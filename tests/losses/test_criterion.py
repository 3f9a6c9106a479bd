"""The criterion against plain loops, and its behaviour on empty, mixed and odd batches."""

import math

import pytest
import torch
import torch.nn.functional as F
from oracles.criterion import golden_problem, naive_pair_losses, random_problem, random_target

from mvplm.losses import Criterion, HungarianMatcher, LossWeights, criterion, matcher
from mvplm.losses.pairs import named_sets
from mvplm.structures import PerceptionOutput, PredictionSet, Target

PAIR_NAMES = ("mask_bce", "mask_dice", "box_l1", "box_giou")


@pytest.fixture
def fixed_points(monkeypatch):
    """Every image gets the same points in every call, so that results can be compared."""

    def draw(batch, count, **_):
        generator = torch.Generator().manual_seed(count)
        return torch.rand(1, count, 2, generator=generator).expand(batch, count, 2)

    monkeypatch.setattr(criterion, "uniform_points", draw)
    monkeypatch.setattr(matcher, "uniform_points", draw)
    return draw


def small_criterion(**options):
    classifier = options.get("classifier", "softmax_ce")
    return Criterion(matcher=HungarianMatcher(num_points=16, classifier=classifier), num_points=16, **options)


def parts(problem):
    return problem.output, problem.batch


def leaves(output):
    tensors = [output.logits, output.boxes, output.mask_embeddings, output.mask_features]
    tensors += [output.selection.logits, output.selection.boxes, output.selection.mask_embeddings]
    if output.denoising is not None:
        tensors += [output.denoising.logits, output.denoising.boxes, output.denoising.mask_embeddings]
    return [tensor for tensor in tensors if tensor is not None]


# Golden G26.
def test_golden_problem():
    problem = golden_problem()
    losses = small_criterion()(problem.output, problem.batch)
    assert losses.keys() == {"word", "box_l1", "box_giou"}
    assert losses["word"].item() == pytest.approx(0.280453, abs=1e-5)
    assert losses["box_l1"].item() == pytest.approx(0.4, abs=1e-5)
    assert losses["box_giou"].item() == pytest.approx(0.75, abs=1e-5)


def test_targets_alone_are_enough(fixed_points):
    torch.manual_seed(0)
    problem = random_problem([2, 0, 3], things=6, isthing=[True, False, True], groups=2)
    whole = small_criterion()(problem.output, problem.batch)
    alone = small_criterion()(problem.output, problem.batch.targets)
    assert whole.keys() == alone.keys() and all(torch.equal(value, alone[name]) for name, value in whole.items())


def test_the_output_of_any_detr_has_losses(fixed_points):
    torch.manual_seed(0)
    logits, boxes = torch.randn(3, 2, 7, 5), torch.rand(3, 2, 7, 4)
    masks, features = torch.randn(3, 2, 7, 8), torch.randn(2, 8, 6, 5)
    outlines = torch.zeros(1, 24, 20, dtype=torch.bool)
    outlines[:, 4:12, 3:9] = True
    with_masks = Target(torch.tensor([3]), torch.rand(1, 4), outlines)
    without = Target(torch.tensor([0, 1]), torch.rand(2, 4))
    output = PerceptionOutput.of(logits, boxes, mask_embeddings=masks, mask_features=features)
    losses = small_criterion()(output, [with_masks, without])
    assert {"word", "word.initial", "word.layer1", "mask_dice", "box_giou.initial"} <= losses.keys()
    assert all(bool(value.isfinite()) for value in losses.values())
    last = PerceptionOutput.of(logits[-1], boxes[-1], mask_embeddings=masks[-1], mask_features=features)
    alone = small_criterion()(last, [with_masks, without])
    assert alone.keys() == {"word", "mask_bce", "mask_dice", "box_l1", "box_giou"}
    assert all(torch.equal(value, losses[name]) for name, value in alone.items())
    asked = PerceptionOutput.of(logits[-1, ..., :1], boxes[-1])
    one = Target(torch.tensor([0]), torch.rand(1, 4))
    assert small_criterion()(asked, [one, one]).keys() == {"sentence", "box_l1", "box_giou"}


@pytest.mark.parametrize("things", [6, 4])
def test_pair_losses_equal_plain_loops(fixed_points, things):
    torch.manual_seed(0)
    problem = random_problem([2, 0, 3], things=things, isthing=[True, False, True], groups=2)
    problem.batch.targets[2].has_mask[1] = False
    compute = small_criterion()
    losses = compute(problem.output, problem.batch)
    points = fixed_points(1, compute.points.drawn)[0]
    sets = named_sets(problem.output)
    matches = compute.matcher.match_all(
        [single.predictions for single in sets], problem.output, targets=problem.batch.targets
    )
    jobs = [
        (single.suffix, single.predictions, lambda image, s=s: matches.pairs(image, set_index=s), 5)
        for s, single in enumerate(sets)
    ]
    noised = problem.output.denoising
    for layer, suffix in enumerate([".dn.initial", ".dn.layer1", ".dn"]):
        single = PredictionSet(noised.logits[layer], noised.boxes[layer], noised.mask_embeddings[layer])
        slots = [
            [(g * noised.slots + j, j) for g in range(2) for j in range(len(target))]
            for target in problem.batch.targets
        ]
        jobs.append((suffix, single, slots.__getitem__, 10))
    for suffix, single, pairs, divisor in jobs:
        sums = torch.zeros(4)
        for image in range(3):
            sums += torch.tensor(naive_pair_losses(problem, single, image, pairs(image), points, compute.points))
        for name, value in zip(PAIR_NAMES, sums / divisor, strict=True):
            torch.testing.assert_close(losses[name + suffix].detach(), value, atol=1e-4, rtol=1e-4)


def test_names_of_every_set():
    losses = small_criterion()(*parts(random_problem([2, 1], groups=2)))
    suffixes = ["", ".initial", ".layer1", ".selection", ".dn", ".dn.initial", ".dn.layer1"]
    assert losses.keys() == {name + suffix for name in ("word", *PAIR_NAMES) for suffix in suffixes}
    assert all(value.shape == () and value.dtype == torch.float32 for value in losses.values())


@pytest.mark.parametrize(
    ("family", "masks", "groups", "count"),
    [("word", True, 1, 105), ("word", False, 1, 63), ("sentence", True, 0, 55), ("sentence", False, 0, 33)],
)
def test_number_of_scalars_with_nine_layers(family, masks, groups, count):
    problem = random_problem([1], family=family, layers=10, masks=masks, groups=groups)
    assert len(small_criterion()(*parts(problem))) == count


def test_word_loss_equals_a_loop_over_queries():
    torch.manual_seed(0)
    problem = random_problem([2, 1], queries=4)
    output, targets = problem.output, problem.batch.targets
    compute = small_criterion()
    torch.manual_seed(7)
    losses = compute(output, problem.batch)
    torch.manual_seed(7)
    sets = [single.predictions for single in named_sets(output)]
    matches = compute.matcher.match_all(sets, output, targets=targets)
    total = weights = 0.0
    for image in range(2):
        wanted = {query: int(targets[image].labels[target]) for query, target in matches.pairs(image, set_index=2)}
        for query in range(4):
            weight = 1.0 if query in wanted else 0.1
            total -= weight * float(output.logits[2, image, query].detach().log_softmax(-1)[wanted.get(query, 3)])
            weights += weight
    assert losses["word"].item() == pytest.approx(total / weights, abs=1e-5)


def test_denoising_word_loss_is_the_mean_over_filled_slots():
    problem = random_problem([2, 1], groups=3)
    losses = small_criterion()(*parts(problem))
    noised, terms = problem.output.denoising, []
    for image, target in enumerate(problem.batch.targets):
        for group in range(3):
            for j, label in enumerate(target.labels):
                terms.append(-noised.logits[-1, image, group * 2 + j].log_softmax(-1)[label])
    torch.testing.assert_close(losses["word.dn"], torch.stack(terms).mean())


def test_empty_denoising_slots_get_no_gradient_wherever_they_are():
    problem = random_problem([2, 2], groups=2)
    noised = problem.output.denoising
    noised.target_index[1] = torch.tensor([-1, 0])
    problem.batch.targets[1] = random_target(1, size=(20, 32))
    LossWeights().total(small_criterion()(*parts(problem))).backward()
    gradient = noised.logits.grad.abs().sum((0, 3))
    assert (gradient[1] > 0).tolist() == [False, True, False, True] and (gradient[0] > 0).all()


def test_denoising_masks_can_be_left_out():
    problem = random_problem([2, 1], groups=2)
    problem.output.denoising.mask_embeddings = None
    losses = small_criterion(dn_masks=False)(*parts(problem))
    assert "mask_bce.dn" not in losses and "box_l1.dn" in losses and "mask_bce.selection" in losses


@pytest.mark.parametrize("family", ["word", "sentence"])
@pytest.mark.parametrize("counts", [[0, 0], [0, 2]])
def test_empty_targets_give_finite_losses_and_gradients(family, counts):
    problem = random_problem(counts, family=family)
    losses = small_criterion()(*parts(problem))
    LossWeights().total(losses).backward()
    for tensor in leaves(problem.output):
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all()
    if counts == [0, 0]:
        assert all(losses[name].item() == 0 for name in PAIR_NAMES)
        assert losses["word" if family == "word" else "sentence"].item() > 0


def test_sentence_without_target_in_the_batch_weighs_every_query_alike():
    problem = random_problem([0, 0], family="sentence")
    losses = small_criterion(sentence_scale=0.1)(*parts(problem))
    torch.testing.assert_close(losses["sentence"], 0.1 * F.softplus(problem.output.logits[-1]).mean())


# Golden G30.
@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize(("counts", "expected"), [([1], 1.372432), ([1, 0, 0, 0], 1.382829), ([2, 1, 1, 1], 1.368966)])
def test_sentence_loss_at_zero_logits(counts, expected, scale):
    problem = random_problem(counts, family="sentence", queries=100, layers=2, masks=False)
    with torch.no_grad():
        problem.output.logits.zero_()
    losses = small_criterion(sentence_scale=scale)(*parts(problem))
    assert losses["sentence"].item() == pytest.approx(scale * expected, abs=1e-5)


def test_images_with_and_without_masks_share_a_batch(fixed_points):
    torch.manual_seed(0)
    problem = random_problem([2, 2])
    problem.batch.targets[0] = random_target(2, size=(32, 24), masks=False)
    problem.batch.targets[1].has_mask[1] = False
    losses = small_criterion()(*parts(problem))
    (losses["mask_bce"] + losses["mask_dice"]).backward()
    output = problem.output
    assert (output.mask_features.grad[0] == 0).all() and (output.mask_features.grad[1] != 0).any()
    assert (output.mask_embeddings.grad[-1, 1].abs().sum(-1) > 0).sum() == 1


def test_stuff_boxes_follow_the_switch():
    torch.manual_seed(0)
    problem = random_problem([2], things=3, names=2, isthing=[True, False])
    problem.batch.targets[0].labels[:] = torch.tensor([0, 1])
    small_criterion()(*parts(problem))["box_l1"].backward()
    assert (problem.output.boxes.grad[-1, 0].abs().sum(-1) > 0).sum() == 1
    problem.output.boxes.grad = None
    small_criterion(stuff_box_loss=True)(*parts(problem))["box_l1"].backward()
    assert (problem.output.boxes.grad[-1, 0].abs().sum(-1) > 0).sum() == 2


def test_a_batch_is_the_mean_of_its_images(fixed_points):
    torch.manual_seed(0)
    both = random_problem([2, 3])
    together = small_criterion()(*parts(both))
    summed = dict.fromkeys(together, 0.0)
    for image in (0, 1):
        one = random_problem([1])
        for field in ("logits", "boxes", "mask_embeddings"):
            setattr(one.output, field, getattr(both.output, field)[:, image : image + 1])
            setattr(one.output.selection, field, getattr(both.output.selection, field)[image : image + 1])
        one.output.mask_features = both.output.mask_features[image : image + 1]
        one.batch.targets = [both.batch.targets[image]]
        alone = small_criterion()(*parts(one))
        for name, value in alone.items():
            summed[name] += value.item() * len(one.batch.targets[0]) / 5
    for name, value in together.items():
        if not name.startswith("word"):
            assert value.item() == pytest.approx(summed[name], abs=1e-5), name


# Golden G37.
def test_two_ranks_equal_one_rank_with_the_duplicated_batch(fixed_points, monkeypatch):
    torch.manual_seed(0)
    problem = random_problem([2, 1], groups=2)
    alone = small_criterion()(*parts(problem))

    def all_reduce(tensor):
        tensor.mul_(2)

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    spread = small_criterion()(*parts(problem))
    for name, value in alone.items():
        torch.testing.assert_close(value, spread[name])


# Golden G37.
def test_counts_are_averaged_over_ranks(monkeypatch):
    from mvplm.structures.processes import mean_over_processes

    assert mean_over_processes(torch.tensor([3.0])).tolist() == [3]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.add_(2))
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    mine = torch.tensor([3.0])
    assert mean_over_processes(mine).tolist() == [2.5] and mine.tolist() == [3]


def test_padded_names_get_no_gradient():
    problem = random_problem([2, 1], names=4, groups=2)
    output = problem.output
    for target in problem.batch.targets:
        target.labels.clamp_(max=2)
    output.name_mask[:, 3] = False
    padded = torch.tensor([False, False, False, True, False])
    raw = [output.logits, output.selection.logits, output.denoising.logits]
    output.logits, output.selection.logits, output.denoising.logits = (t.masked_fill(padded, -math.inf) for t in raw)
    LossWeights().total(small_criterion()(output, problem.batch)).backward()
    for tensor in raw:
        assert torch.isfinite(tensor.grad).all() and (tensor.grad[..., 3] == 0).all()


def test_focal_heads_ignore_padded_names():
    torch.manual_seed(0)
    problem = random_problem([1], names=3, groups=1)
    output = problem.output
    problem.batch.targets[0].labels[:] = 0
    output.name_mask[:, 2] = False
    with torch.no_grad():
        output.logits.zero_()
        output.denoising.logits.zero_()
    losses = small_criterion(classifier="sigmoid_focal")(output, problem.batch)
    assert losses["word"].item() == pytest.approx(0.043322 + 11 * 0.129965, abs=1e-4)
    assert losses["word.dn"].item() == pytest.approx(0.043322 + 0.129965, abs=1e-4)


def test_losses_stay_float32_under_autocast(fixed_points):
    torch.manual_seed(0)
    problem = random_problem([2, 1], groups=2)
    plain = small_criterion()(*parts(problem))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = small_criterion()(*parts(problem))
    for name, value in plain.items():
        assert torch.equal(value, mixed[name]), name


def test_arguments_are_left_untouched(fixed_points):
    problem = random_problem([2, 1], groups=2)
    before = [tensor.detach().clone() for tensor in leaves(problem.output)]
    targets = [target.masks.clone() for target in problem.batch.targets]
    small_criterion()(*parts(problem))
    assert all(torch.equal(a, b) for a, b in zip(before, leaves(problem.output), strict=True))
    assert all(torch.equal(a, b.masks) for a, b in zip(targets, problem.batch.targets, strict=True))


def test_caption_batches_have_only_the_language_loss():
    problem = random_problem([1])
    problem.batch.family, problem.output.lm_loss = "caption", torch.tensor(2.5)
    assert small_criterion()(*parts(problem)) == {"lm": torch.tensor(2.5)}


def test_missing_targets_are_refused():
    problem = random_problem([1, 2])
    with pytest.raises(ValueError, match="2 images need as many targets, got 1"):
        problem.batch.targets = problem.batch.targets[:1]
        small_criterion()(*parts(problem))
    problem.batch.targets = None
    with pytest.raises(ValueError, match="needs a batch with targets"):
        small_criterion()(*parts(problem))


def test_weights_are_applied_once_and_known():
    losses = {"word": torch.tensor(1.0), "mask_bce.dn.layer1": torch.tensor(2.0), "lm": torch.tensor(3.0)}
    assert float(LossWeights().total(losses)) == 15
    losses["lm"] = torch.tensor(math.nan)
    assert float(LossWeights(lm=0.0).total(losses, zero=torch.tensor(0.0))) == 12
    with pytest.raises(ValueError, match="unknown loss 'mask_dise'; did you mean 'mask_dice'"):
        LossWeights().total({"mask_dise.dn": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="no loss"):
        LossWeights().total({})
