"""Concepts of two classes that the tuned network tells apart, and what is asked about them."""

import dataclasses

from lib.explain.concept_directions import DirectionRequest
from lib.explain.concept_images import ConceptImages, ConceptSource
from tests.moved_run import KeptDataset, tuned_grader

GRADER = tuned_grader()


def concept_source(*, num: int = 14) -> ConceptSource:
    """Concept "a": images of class a against those of class b. Concept "noise": some of both against others of both."""
    dataset = KeptDataset(num_images=4 * num)
    first, second = tuple(range(0, 4 * num, 2)), tuple(range(1, 4 * num, 2))
    mixed = tuple(range(2 * num)), tuple(range(2 * num, 4 * num))
    return ConceptSource(
        list(dataset.pixels),
        (ConceptImages("a/<b>", first[:num], second, "images of b"), ConceptImages("noise", *mixed, "others")),
        tuple(range(4 * num)),
    )


def direction_request(target: int = 0, **changes: object) -> DirectionRequest:
    images = KeptDataset(num_images=20, seed=5).pixels[target::2]
    asked = DirectionRequest(GRADER.classifier, GRADER.inputs, concept_source(), images, target, ("block4", "block5"),
                             num_counterparts=4, num_random=24)  # fmt: skip
    return dataclasses.replace(asked, **changes)
