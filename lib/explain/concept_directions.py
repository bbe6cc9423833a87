"""Directions of concepts at the stages of a network, and how a class's score changes along them, by captum's TCAV."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.input_transform import InputTransform
from lib.errors import UserError
from lib.explain.concept_images import ConceptImages, ConceptSource

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lib.models.classifier import Classifier

NUM_COUNTERPARTS, NUM_RANDOM = 10, 30
MIN_COUNTERPARTS = 5
_BATCH, _NUM_FOLDS = 16, 3


@dataclass(frozen=True, eq=False)
class DirectionRequest:
    """A network, concepts, and images (n, S, S, 3) of a class, whose logit is followed; `seed` is of all draws."""

    classifier: "Classifier"
    inputs: InputTransform
    source: ConceptSource
    images: np.ndarray
    target: int
    stages: tuple[str, ...]
    num_counterparts: int = NUM_COUNTERPARTS
    num_random: int = NUM_RANDOM
    seed: int = 0


@dataclass(frozen=True)
class DirectionScores:
    """Of one concept and stage: scores against each counterpart, between random sets, and accuracies on `num_told`."""

    concept: list[float]
    random: list[float]
    separation: list[float]
    num_told: int


def score_directions(
    request: DirectionRequest, report: Callable[[int, int], None]
) -> list[tuple[ConceptImages, str, DirectionScores]]:
    """The scores of each concept and stage; `report(done, total)` may raise, and nothing is left behind.

    What captum keeps in files lies in a folder that lives as long as this call.

    Raises:
        UserError: too few counterparts, or a stage that the classifier does not have.
    """
    import torch
    from captum._utils.av import AV
    from captum.concept import TCAV, Concept

    class KeptActivations(TCAV):
        """Captum looks for activations under layer/set where it keeps them under set/layer, and would run all anew."""

        def generate_activations(self, concept_layers: Any) -> None:
            """They are there."""

    network = pointed_network(request.classifier, request.stages)
    layers = [f"points.{stage}" for stage in request.stages]
    sets = _image_sets(request)
    num, num_concepts = request.num_counterparts, len(request.source.concepts)
    num_images, num_pairs = len(request.source.pool), num * num_concepts + request.num_random
    with tempfile.TemporaryDirectory(prefix="transferscope-concepts-") as folder, torch.inference_mode(mode=False):
        known = _pooled_outputs(request, network, layers, lambda done, total: report(done, total + num_pairs))
        finder = _direction_finder(request.seed, judged=num_concepts * (num + 1))
        tcav = KeptActivations(network, layers, "network", classifier=finder, save_path=folder)
        # The names are captum's file names: numbers, whatever a person called the concept.
        concepts = [Concept(number, "set", None) for number in range(len(sets))]
        for one, images in zip(concepts, sets, strict=True):
            for layer in layers:  # where and how captum looks for them
                AV.save(folder, "network", one.identifier, layer, known[layer][images], "0")
        firsts = range(0, num_concepts * (num + 1), num + 1)
        against = [[[concepts[at], one] for one in concepts[at + 1 : at + 1 + num]] for at in firsts]
        rest = concepts[num_concepts * (num + 1) :]
        between = [list(pair) for pair in zip(rest[::2], rest[1::2], strict=True)]
        pairs = [pair for group in (*against, between) for pair in group]
        for number, pair in enumerate(pairs):
            report(num_images + number, num_images + num_pairs)
            tcav.compute_cavs([pair])
        batch = request.inputs.batch(request.images, device=next(network.parameters()).device)
        with torch.enable_grad():  # in one batch, since captum takes the share over all that it is given
            found = tcav.interpret(batch, pairs, target=request.target)
        report(num_images + num_pairs, num_images + num_pairs)

    def share(pair: Sequence[Any], layer: str) -> float:
        return float(found[f"{pair[0].id}-{pair[1].id}"][layer]["sign_count"][0])

    def accuracy(pair: Sequence[Any], layer: str) -> float:
        return float(tcav.cavs[f"{pair[0].id}-{pair[1].id}"][layer].stats["accs"])

    return [
        (
            concept,
            stage,
            DirectionScores(
                [share(pair, layer) for pair in against[place]],
                [share(pair, layer) for pair in between],
                [accuracy(pair, layer) for pair in against[place]],
                2 * len(sets[firsts[place]]),
            ),
        )
        for place, concept in enumerate(request.source.concepts)
        for stage, layer in zip(request.stages, layers, strict=True)
    ]


def _image_sets(request: DirectionRequest) -> list[list[int]]:
    """Numbers of images: of each concept its own and those of each draw of counterparts; then pairs of random sets.

    All sets of a concept are of one size, so that guessing is right half the time; random sets are as large as that of
    the smallest concept.
    """
    random, source = np.random.default_rng(request.seed), request.source
    sets: list[list[int]] = []
    for concept in source.concepts:
        # Two draws must differ, so that one takes half of the others at most.
        size = min(len(concept.shown), len(concept.others) // 2)
        if size < MIN_COUNTERPARTS:
            raise UserError(
                f"There are {len(concept.others)} counterparts for {concept.name!r}; it takes {2 * MIN_COUNTERPARTS}."
            )
        sets.append(random.permutation(concept.shown)[:size].tolist())
        sets += [random.permutation(concept.others)[:size].tolist() for _ in range(request.num_counterparts)]
    size = min(*(len(concept.shown) for concept in source.concepts), len(source.randoms) // 2)
    for _ in range(request.num_random):
        drawn = random.permutation(source.randoms).tolist()  # the two of a pair have no image in common
        sets += [drawn[:size], drawn[size : 2 * size]]
    return sets


def _pooled_outputs(
    request: DirectionRequest, network: "nn.Module", layers: Sequence[str], report: Callable[[int, int], None]
) -> "dict[str, Tensor]":
    """By layer what its point gives for the pool (M, D); an image that is in many sets is run once."""
    import torch
    from captum.attr import LayerActivation

    reader = LayerActivation(network, [network.get_submodule(layer) for layer in layers])
    device, pool = next(network.parameters()).device, request.source.pool
    found: list[list[Tensor]] = []
    for first in range(0, len(pool), _BATCH):
        report(first, len(pool))
        # One by one: squares that a person gave may be of another side than those of the data set.
        batch = [request.inputs.batch(one[None], device=device) for one in pool[first : first + _BATCH]]
        found.append([one.detach() for one in reader.attribute(torch.cat(batch))])
    return {layer: torch.cat([one[place] for one in found]) for place, layer in enumerate(layers)}


def pointed_network(classifier: "Classifier", stages: Sequence[str]) -> "nn.Module":
    """The classifier as a module with a point `points.STAGE` of pooled outputs (N, D) at each of the stages.

    What is added to a point is added to its channels at every place; the output is the classifier's own. A tree of
    modules of its own, so that hooks on it harm nobody; all tensors are shared.

    Raises:
        UserError: a stage that the classifier does not have.
    """
    import torch
    from torch import nn

    from lib.models.classifier import pool_features, stage_poolings
    from lib.models.folding import share_module_tree

    if unknown := [name for name in stages if name not in classifier.stages]:
        raise UserError(
            f"The network of this run has no stage {unknown[0]!r}. Choose one of: {', '.join(classifier.stages)}."
        )
    poolings = {name: ("average" if pooling == "flatten" else pooling, prefix)
                for name, (pooling, prefix) in stage_poolings(classifier.spec, stages).items()}  # fmt: skip

    class PointedNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network: Any = share_module_tree(classifier).eval()
            self.points = nn.ModuleDict({name: nn.Identity() for name in stages})

        def forward(self, images: "Tensor") -> "Tensor":
            hidden = images
            for name, step in self.network.steps.items():
                hidden = step(hidden)
                if name in self.points:
                    pooled = pool_features(hidden, *poolings[name]).detach()
                    # A leaf of its own: a gradient that came back through here as well would count twice before it.
                    leaf = pooled.clone().requires_grad_(torch.is_grad_enabled())
                    hidden = hidden + _spread(self.points[name](leaf) - pooled, hidden, poolings[name])
            result: Tensor = hidden
            return result

    def _spread(change: "Tensor", hidden: "Tensor", pooling: tuple[str, int]) -> "Tensor":
        """A change (N, D) at the places that were pooled."""
        if hidden.ndim == 4:
            return change[:, :, None, None]
        if hidden.ndim == 2:
            return change
        is_pooled = torch.zeros(hidden.shape[1], device=hidden.device)
        is_pooled[0 if pooling[0] == "cls" else slice(pooling[1], None)] = 1
        return change[:, None, :] * is_pooled[None, :, None]

    return PointedNetwork().eval()


def _direction_finder(seed: int, *, judged: int) -> Any:
    """Captum's own classifier splits at random without a seed; this one is scikit-learn's logistic regression."""
    import torch
    from captum.concept import Classifier as ConceptClassifier

    class DirectionFinder(ConceptClassifier):
        def __init__(self) -> None:
            self._weights, self._classes = torch.empty(0), [0, 1]

        def train_and_eval(self, dataloader: Any, **_: Any) -> dict[str, Any]:
            from sklearn.linear_model import LogisticRegression
            from sklearn.model_selection import StratifiedKFold, cross_val_score
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

            parts = list(dataloader)
            features = torch.cat([part[0] for part in parts]).cpu().double().numpy()
            labels = torch.cat([part[1] for part in parts]).cpu().numpy()
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / features.shape[1], tol=1e-3, max_iter=500))
            accuracy = math.nan
            if labels.max() < judged:
                folds = StratifiedKFold(_NUM_FOLDS, shuffle=True, random_state=seed)
                accuracy = float(cross_val_score(probe, features, labels, cv=folds).mean())
            scaler, line = probe.fit(features, labels).steps[0][1], probe.steps[1][1]
            direction = line.coef_[0] / scaler.scale_
            self._classes = [int(one) for one in line.classes_]
            self._weights = torch.from_numpy(np.stack([-direction, direction]))
            return {"accs": accuracy}

        def weights(self) -> "Tensor":
            return self._weights

        def classes(self) -> list[int]:
            return self._classes

    return DirectionFinder()
