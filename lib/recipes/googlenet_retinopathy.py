"""Study 2: GoogLeNet fine-tuned on fundus photographs, and the explicit features that it is held against."""

from typing import Any

from lib.recipes.spec import RecipeSpec, Study
from lib.recipes.subjects import AS_IN_KERAS, FUNDUS

STUDY = Study("googlenet-dr", "GoogLeNet on diabetic retinopathy", "blog series, part 2, 2016", 2016, "Theano, Lasagne")

_EXTRAS: dict[str, Any] = {
    "study": STUDY,
    "subject": FUNDUS,
    "protocol": "About 30,000 photographs with four labels, trained to tell two classes apart; no split is published, "
    "so the usual fifths to test and to validate.",
}
_SETTINGS: dict[str, Any] = {
    **AS_IN_KERAS,
    "backbone": "googlenet",
    "strategy": "partial_finetuning",
    "unfreeze_from": "inception3a",
    "head": "linear",
    "augmentation": "rotations",
    "batchnorm": "frozen",
    "optimizer": "sgd",
    "learning_rate": 1e-4,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "step",
    "epochs": 30,
    "patience": 10,
}
_DEVIATIONS = (
    "Rate 1e-4, L2 5e-4, momentum, schedule and epochs are ours: the source says very small rate and decay.",
    "The first two layers are read as both convolutions before the first inception module.",
    "This GoogLeNet has BatchNorm, which the original has not; it stays as pretrained.",
)
_ELSEWHERE = {"unfreeze_from": None}
# As published: all but the convolutions at a half and a quarter of the side, which comes first in both.
_STAGES_ON = {name: {"unfreeze_from": "block3"} for name in ("efficientnet_lite0", "bundled_vgg")}
# A hundredth of the steps needs a higher rate to get anywhere.
_SMALL = {"max_per_class": 60, "input_size_px": 128, "epochs": 20, "learning_rate": 4e-4}

RECIPES = (
    RecipeSpec(
        name="googlenet-dr-ft",
        title="GoogLeNet fine-tuned, two classes",
        settings={**_SETTINGS, "target_map": "any_dr"},
        elsewhere=_ELSEWHERE,
        stages_on=_STAGES_ON,
        small=_SMALL,
        deviations=("Two classes are no retinopathy and any: the source does not say where it cuts.", *_DEVIATIONS),
        **_EXTRAS,
    ),
    RecipeSpec(
        name="googlenet-dr-ft-four",
        title="GoogLeNet fine-tuned, four classes",
        settings={**_SETTINGS, "target_map": "four_classes"},
        elsewhere=_ELSEWHERE,
        stages_on=_STAGES_ON,
        small=_SMALL,
        deviations=(
            "Four classes join severe and proliferative: the source does not name its four labels.",
            *_DEVIATIONS,
        ),
        **_EXTRAS,
    ),
    RecipeSpec(
        name="handcrafted-dr-svm",
        title="Hand-made lesion and vessel features, SVM",
        study=STUDY,
        subject=FUNDUS,
        protocol="Contrast enhancement, then vessels and red and bright lesions by morphology, then an SVM; the series "
        "describes this way of others in words and cites 90 % accuracy on 140 photographs.",
        settings={"backbone": "handcrafted", "strategy": "handcrafted_features"},
        small={"max_per_class": 100},
        deviations=(
            "The series describes the steps in words: filters, features and their sizes are ours.",
            "Five grades on all images, where the cited studies have sets and classes of their own.",
        ),
    ),
)
