"""The table of attribution methods: which places of an image speak for an answer. Importing it imports no torch.

To add a method, add one function and one entry: page, command line, grader, pinned images and tests read the table. The
function gets a `Question` (lib/explain/question.py) and returns one map for each image, (N, h, w).
"""

from typing import TYPE_CHECKING

from lib.errors import UserError
from lib.explain.method_spec import (
    INPUT,
    MethodSpec,
    Option,
    needs_deep_lift_rules,
    needs_gradient,
    needs_guided_rule,
    needs_map,
    needs_map_and_gradient,
    needs_network,
    needs_rectifiers,
)
from lib.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from lib.explain.question import Question
    from lib.models.stages import StagedNetwork

DEFAULT_METHOD = "grad_cam"
METHODS: Registry[MethodSpec] = Registry("attribution method")


def offered_methods(network: "StagedNetwork") -> dict[str, str]:
    """Method -> why it does not fit this network, "" where it does; in the order of the table."""
    return {method.name: method.misfit(network) for method in METHODS}


def grad_cam(question: "Question") -> "Tensor":
    """Channels weighted by their mean gradient; what speaks against the answer is cut off."""
    from lib.explain.attribution import weighted_by_mean_gradient

    return weighted_by_mean_gradient(question.activation, question.gradient)


METHODS.add(
    MethodSpec(
        name="grad_cam",
        title="Grad-CAM",
        summary="The places of a stage that speak for the answer: its channels, weighted by their mean gradient.",
        reference="Selvaraju et al. 2017 (arXiv:1610.02391)",
        explain=grad_cam,
        misfit=needs_map_and_gradient,
    )
)


def grad_cam_plus_plus(question: "Question") -> "Tensor":
    """Positive gradients g weighted by g^2 / (2 g^2 + sum(A) g^3), as of the exponential of the answer."""
    h, g = question.activation.float(), question.gradient.float()
    squared = g.square()
    # Over all places a, b: the third derivative is that of the place itself, the activations are those of the channel.
    divisor = 2 * squared + h.sum(dim=(2, 3), keepdim=True) * squared * g
    share = squared.where(divisor != 0, 0.0) / divisor.where(divisor != 0, 1.0)
    weights = (share * g.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * h).sum(dim=1).relu()


METHODS.add(
    MethodSpec(
        name="grad_cam_plus_plus",
        title="Grad-CAM++",
        summary="Grad-CAM with weights that let several small objects of one class count as much as a large one.",
        reference="Chattopadhay et al. 2018 (arXiv:1710.11063)",
        explain=grad_cam_plus_plus,
        misfit=needs_map_and_gradient,
    )
)


def layer_cam(question: "Question") -> "Tensor":
    """Each place weighted by its own positive gradient: sharp at early stages too."""
    weighted = question.gradient.float().relu() * question.activation.float()
    return weighted.sum(dim=1).relu()


METHODS.add(
    MethodSpec(
        name="layer_cam",
        title="LayerCAM",
        summary="Each place by its own positive gradient instead of the channel's mean: finer maps of early stages.",
        reference="Jiang et al. 2021 (arXiv:2107.02314)",
        explain=layer_cam,
        misfit=needs_map_and_gradient,
    )
)


def score_cam(question: "Question") -> "Tensor":
    """Each channel, enlarged and scaled to 0..1, masks the image; softmax of the answers to them are the weights."""
    import torch
    import torch.nn.functional as F

    from lib.explain.question import ROWS_AT_ONCE

    h, most = question.activation.float(), question.options["max_channels"] or question.activation.shape[1]
    num_channels, size = h.shape[1], question.images.shape[2:]
    kept = min(most, num_channels)
    strongest = h.abs().mean(dim=(2, 3)).argsort(dim=1, descending=True, stable=True)[:, :kept].sort(dim=1).values
    question.facts["channels"] = f"the {kept} strongest of {num_channels}" if kept < num_channels else f"all {kept}"
    question.num_expected = kept * len(h)
    maps = []
    with torch.no_grad():
        for row in range(len(h)):
            one = question.of_image(row)
            channels, answers = h[row, strongest[row]], []
            low, high = channels.amin(dim=(1, 2), keepdim=True), channels.amax(dim=(1, 2), keepdim=True)
            scaled = (channels - low) / (high - low + 1e-8)
            for part in scaled.split(ROWS_AT_ONCE):
                masks = F.interpolate(part[:, None], size, mode="bilinear", align_corners=False)
                one.num_answered, one.num_expected = question.num_answered, question.num_expected
                answers.append(one.answers((masks * question.images[row]).to(question.images.dtype)))
                question.num_answered = one.num_answered
            weights = torch.cat(answers).softmax(dim=0).float()
            maps.append((weights[:, None, None] * channels).sum(dim=0).relu())
    return torch.stack(maps)


METHODS.add(
    MethodSpec(
        name="score_cam",
        title="Score-CAM",
        summary="Channels weighted by what the network answers when it sees the image through each of them alone.",
        reference="Wang et al. 2020 (arXiv:1910.01279)",
        explain=score_cam,
        misfit=needs_map,
        is_slow=True,
        options=(
            Option("max_channels", "Channels", 64, "So many of the strongest; 0 takes all, a pass for each.", 0, 4096),
        ),
    )
)


def eigen_cam(question: "Question") -> "Tensor":
    """The first principal component of the stage's output over its places, positive where it is active."""
    import torch

    maps = []
    for h in question.activation.double():  # channels (C, h, w) of one image
        places = h.flatten(1).T
        centred = places - places.mean(dim=0)
        is_narrow = centred.shape[1] <= centred.shape[0]
        # The smaller of the two matrices has the same first component as the larger one.
        values, vectors = torch.linalg.eigh(centred.T @ centred if is_narrow else centred @ centred.T)
        found = centred @ vectors[:, -1] if is_narrow else vectors[:, -1] * values[-1].clamp_min(0).sqrt()
        strength = places.abs().mean(dim=1)
        is_turned = float((found * (strength - strength.mean())).sum()) < 0
        maps.append((-found if is_turned else found).reshape(h.shape[1:]).relu())
    return torch.stack(maps).float()


METHODS.add(
    MethodSpec(
        name="eigen_cam",
        title="Eigen-CAM",
        summary="The strongest pattern of a stage's output, whatever the class: where it answers at all.",
        reference="Muhammad and Yeasin 2020 (arXiv:2008.00299)",
        explain=eigen_cam,
        misfit=needs_map,
        ignores_target=True,
    )
)

_BASELINE = Option(
    "baseline",
    "Compared with",
    "mean",
    "What stands for an image that says nothing: its mean colour to the network, black, or the image blurred.",
    choices=("mean", "black", "blurred"),
)


def integrated_gradients(question: "Question") -> "Tensor":
    """Gradients along the straight way from a baseline to the image (captum), summed over the colours."""
    import torch
    from captum.attr import IntegratedGradients

    from lib.explain.question import ROWS_AT_ONCE

    num_steps, maps, gaps = question.options["num_steps"], [], []
    question.num_expected = num_steps * len(question.images)
    for row in range(len(question.images)):
        one = question.of_image(row)
        one.num_answered, one.num_expected = question.num_answered, question.num_expected
        baseline = one.baseline(question.options["baseline"])
        found = IntegratedGradients(one.module()).attribute(
            one.images.clone().requires_grad_(), baseline, n_steps=num_steps, internal_batch_size=ROWS_AT_ONCE
        )
        question.num_answered += num_steps
        maps.append(found.detach().sum(dim=1)[0])
        with torch.no_grad():
            change = float(question.scores[row] - one.score_of(one.network, baseline)[0])
        gaps.append((float(maps[-1].double().sum()), change))
    question.facts["sum_of_map"], question.facts["change_of_answer"] = map(list, zip(*gaps, strict=True))
    return torch.stack(maps)


METHODS.add(
    MethodSpec(
        name="integrated_gradients",
        title="Integrated gradients",
        summary="What each pixel adds on the way from an image that says nothing; all of them sum up to the change.",
        reference="Sundararajan et al. 2017 (arXiv:1703.01365)",
        explain=integrated_gradients,
        works_on=INPUT,
        misfit=needs_gradient,
        options=(Option("num_steps", "Steps", 50, "More steps, a closer sum.", 2, 500), _BASELINE),
        is_signed=True,
        is_slow=True,
    )
)


def occlusion(question: "Question") -> "Tensor":
    """How much the answer falls when a window is covered (captum), averaged over the windows on each pixel."""
    import torch
    from captum.attr import Occlusion

    from lib.explain.question import ROWS_AT_ONCE

    height, width = question.images.shape[2:]
    window = min(question.options["window_px"], height, width)
    stride = min(question.options["stride_px"], window)
    counts = [-(-(side - window) // stride) + 1 for side in (height, width)]
    question.facts["windows"] = counts[0] * counts[1]
    question.num_expected = (counts[0] * counts[1] + 1) * len(question.images)
    maps = []
    with torch.no_grad():
        for row in range(len(question.images)):
            one = question.of_image(row)
            one.num_answered, one.num_expected = question.num_answered, question.num_expected
            found = Occlusion(one.module()).attribute(
                one.images, (3, window, window), (3, stride, stride), one.baseline(question.options["baseline"]),
                perturbations_per_eval=ROWS_AT_ONCE,
            )  # fmt: skip
            question.num_answered = one.num_answered
            maps.append(found[0, 0].float())  # all colours are covered together, so each has the same number
    return torch.stack(maps)


METHODS.add(
    MethodSpec(
        name="occlusion",
        title="Occlusion",
        summary="How much the answer falls when a window of the image is covered: no gradient, nothing but answers.",
        reference="Zeiler and Fergus 2014 (arXiv:1311.2901)",
        explain=occlusion,
        works_on=INPUT,
        misfit=needs_network,
        options=(
            Option("window_px", "Window (px)", 32, "The side of what is covered.", 1, 512),
            Option("stride_px", "Step (px)", 16, "From one window to the next.", 1, 512),
            _BASELINE,
        ),
        is_signed=True,
        is_slow=True,
    )
)


def saliency(question: "Question") -> "Tensor":
    """The size of the gradient at each pixel (captum), the largest of its colours; mean of noisy copies if asked."""
    import torch
    from captum.attr import Saliency

    num_samples, images = question.options["num_samples"], question.images
    rule = Saliency(question.module())
    _ = question.targets  # those of the image itself, whatever its noisy copies are taken for
    if num_samples == 1:
        return rule.attribute(images.clone().requires_grad_()).detach().amax(dim=1)
    # SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825) like captum's NoiseTunnel, but with noise of its own
    # generator: that one draws from the generator of the process, which other threads share.
    generator = torch.Generator(device="cpu").manual_seed(question.seed)
    spread = question.options["noise"] * (images.amax(dim=(1, 2, 3)) - images.amin(dim=(1, 2, 3)))
    total = torch.zeros_like(images, dtype=torch.float32)
    question.num_expected = num_samples * len(images)
    for _ in range(num_samples):
        noise = torch.randn(images.shape, generator=generator).to(images) * spread[:, None, None, None]
        total += rule.attribute((images + noise).requires_grad_()).detach()
    return (total / num_samples).amax(dim=1)


METHODS.add(
    MethodSpec(
        name="saliency",
        title="Saliency",
        summary="How fast the answer changes with each pixel; smoother as the mean over noisy copies (SmoothGrad).",
        reference="Simonyan et al. 2014 (arXiv:1312.6034)",
        explain=saliency,
        works_on=INPUT,
        misfit=needs_gradient,
        options=(
            Option("num_samples", "Noisy copies", 1, "1 takes the image itself, more is SmoothGrad.", 1, 200),
            Option("noise", "Noise", 0.15, "Standard deviation, as a share of the image's range.", 0.0, 1.0),
        ),
    )
)


def guided_grad_cam(question: "Question") -> "Tensor":
    """Guided back-propagation (captum) times Grad-CAM, enlarged, summed over the colours."""
    import torch.nn.functional as F

    cam = grad_cam(question)[:, None]
    fine = question.modified_gradient("guided").float()
    return (fine * F.interpolate(cam, fine.shape[2:], mode="nearest")).sum(dim=1)


METHODS.add(
    MethodSpec(
        name="guided_grad_cam",
        title="Guided Grad-CAM",
        summary="Fine lines where Grad-CAM is warm. The lines hardly depend on what was learned: read it with care.",
        reference="Selvaraju et al. 2017 (arXiv:1610.02391)",
        explain=guided_grad_cam,
        misfit=needs_guided_rule,
        is_signed=True,
    )
)


def deep_lift(question: "Question") -> "Tensor":
    """What each pixel adds against a baseline, passed back by a rule for each layer (captum), summed over colours."""
    from captum.attr import DeepLift

    from lib.explain.rectifiers import copy_for_rules, quiet_about_hooks

    if not all(target.is_linear for target in question.targets):
        raise UserError(
            "DeepLift explains a class or the difference of two: its rules do not reach the probabilities that a grade "
            "is made of."
        )
    private = copy_for_rules(question.network, caps_are_ruled=True)
    quiet_about_hooks()
    baseline = question.baseline(question.options["baseline"])
    found, gaps = DeepLift(question.module(private)).attribute(
        question.images.clone().requires_grad_(), baseline, return_convergence_delta=True
    )
    maps = found.detach().sum(dim=1)
    sums = maps.double().sum(dim=(1, 2))
    question.facts["sum_of_map"] = sums.tolist()
    question.facts["change_of_answer"] = (sums - gaps.detach().double()).tolist()
    return maps


METHODS.add(
    MethodSpec(
        name="deep_lift",
        title="DeepLift",
        summary="What each pixel adds against an image that says nothing, passed back by a rule for each layer.",
        reference="Shrikumar et al. 2017 (arXiv:1704.02685)",
        explain=deep_lift,
        works_on=INPUT,
        misfit=needs_deep_lift_rules,
        options=(_BASELINE,),
        is_signed=True,
        needs_logits=True,
    )
)


def guided_backprop(question: "Question") -> "Tensor":
    """Gradients of which each ReLU passes on the positive ones alone (captum), summed over the colours."""
    return question.modified_gradient("guided").float().sum(dim=1)


def deconvolution(question: "Question") -> "Tensor":
    """Each ReLU passes back what is positive of what it gets (captum), summed over the colours."""
    return question.modified_gradient("deconvolution").float().sum(dim=1)


# Asked for by name and offered nowhere: pictures of edges that hardly depend on what a network learned, kept to show
# what fails a check and to draw what a unit responds to.
for _name, _title, _explain, _reference in (
    ("guided_backprop", "Guided back-propagation", guided_backprop, "Springenberg et al. 2015 (arXiv:1412.6806)"),
    ("deconvolution", "Deconvolution", deconvolution, "Zeiler and Fergus 2014 (arXiv:1311.2901)"),
):
    METHODS.add(
        MethodSpec(
            name=_name,
            title=_title,
            summary="A picture of fine lines; fails the check of random weights.",
            reference=_reference,
            explain=_explain,
            works_on=INPUT,
            misfit=needs_rectifiers,
            is_signed=True,
        ),
        is_listed=False,
    )
