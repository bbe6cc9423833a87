"""Study 1: VGG16 on 1,000 fundus photographs, from logistic regression to fine-tuning of the last block."""

from typing import Any

from lib.recipes.spec import Published, RecipeSpec, Study
from lib.recipes.subjects import AS_IN_KERAS, FUNDUS

STUDY = Study("vgg16-dr", "VGG16 on diabetic retinopathy, 1,000 images", "talk, November 2016", 2016, "Keras")

_PROTOCOL = (
    "200 photographs of each grade, drawn at random; a stratified 30 % (300) to test, split seed 42; 10 % of the "
    "others to validate; 224 px; batches of 32."
)
_MEANS = "RGB with ImageNet mean and deviation, where the study has BGR with means only."
_SAMPLE = "Another sample and another split than the study's: neither was published as a list."
_VECTORS: dict[str, Any] = {"backbone": "vgg16", "feature_stage": "conv5_3", "pooling": "flatten", "input_size_px": 224}
_DATA: dict[str, Any] = {
    "max_per_class": 200,
    "test_fraction": 0.3,
    "val_fraction": 0.1,
    "split_seed": 42,
    "batch_size": 32,
}
_COMMON: dict[str, Any] = {**AS_IN_KERAS, **_VECTORS, **_DATA}
_ELSEWHERE = {"feature_stage": None, "pooling": None, "input_size_px": None}
_MEASURED_ON = "300 test photographs"
_EXTRAS: dict[str, Any] = {"study": STUDY, "subject": FUNDUS, "protocol": _PROTOCOL, "elsewhere": _ELSEWHERE}

_MLP1: dict[str, Any] = {
    **_COMMON,
    "strategy": "feature_extraction",
    "head": "mlp",
    "optimizer": "adadelta",
    "learning_rate": 1.0,
}
_FINETUNING: dict[str, Any] = {
    **_COMMON,
    "strategy": "partial_finetuning",
    "unfreeze_from": "conv5_1",
    "head": "mlp_plain",
    "optimizer": "sgd",
    "learning_rate": 1e-4,
    "momentum": 0.9,
    "epochs": 20,
    "patience": 20,
}
_TUNED: dict[str, Any] = {
    **_EXTRAS,
    "elsewhere": {**_ELSEWHERE, "unfreeze_from": None},
    "stages_on": {"bundled_vgg": {"unfreeze_from": "block5"}},
}
_ADADELTA = "Adadelta starts at 1.0, the framework's default of that time is not stated in the study."
_VIEWS_SMALL = {"max_per_class": 60, "input_size_px": 128, "epochs": 30, "patience": 30}
_SMALL_TUNED = {"max_per_class": 100, "input_size_px": 128, "epochs": 10}
_TEN_VIEWS = {"augmentation": "ten_views", "num_views": 10, "epochs": 75, "patience": 75}
_VIEWS = "Each epoch shows one of the ten views of an image, so ten times as many epochs would be as many steps."
_SCALING = "No feature-wise centring and scaling of the pixels: the network's own normalisation takes its place."

RECIPES = (
    RecipeSpec(
        name="vgg16-dr-lr",
        title="VGG16 vectors, logistic regression",
        settings={**_COMMON, "strategy": "linear_probe"},
        published=Published(
            accuracy=0.36333,
            quadratic_weighted_kappa=0.51096,
            leaderboard_places="79-80",
            measured_on=_MEASURED_ON,
            confusion=(
                (15, 19, 17, 9, 0),
                (20, 24, 10, 5, 1),
                (12, 13, 13, 12, 10),
                (7, 4, 11, 24, 14),
                (4, 2, 11, 10, 33),
            ),
        ),
        deviations=(
            _MEANS,
            "Features are standardised and the penalty is chosen on the validation part; the study took the defaults.",
            _SAMPLE,
        ),
        **_EXTRAS,
    ),
    RecipeSpec(
        name="vgg16-dr-mlp1",
        title="VGG16 vectors, one hidden layer",
        settings={**_MLP1, "epochs": 50, "patience": 50},
        published=Published(
            accuracy=0.66667,
            quadratic_weighted_kappa=0.74558,
            leaderboard_places="25-26",
            measured_on=_MEASURED_ON,
            confusion=((40, 6, 8, 0, 0), (5, 46, 12, 2, 0), (7, 5, 46, 4, 2), (5, 5, 8, 31, 11), (2, 3, 6, 9, 37)),
        ),
        deviations=(_MEANS, _ADADELTA, _SAMPLE),
        **_EXTRAS,
    ),
    RecipeSpec(
        name="vgg16-dr-mlp2",
        title="VGG16 vectors, two hidden layers",
        settings={**_MLP1, "head": "mlp_two_layers", "learning_rate": 0.1, "epochs": 50, "patience": 50},
        published=Published(
            accuracy=0.63333,
            quadratic_weighted_kappa=0.70822,
            leaderboard_places="",
            measured_on=_MEASURED_ON,
            confusion=((36, 11, 4, 1, 2), (13, 45, 4, 1, 2), (5, 15, 35, 5, 4), (5, 8, 6, 31, 10), (4, 1, 3, 6, 43)),
        ),
        deviations=(_MEANS, _SAMPLE),
        **_EXTRAS,
    ),
    RecipeSpec(
        name="vgg16-dr-ft-random",
        title="VGG16 block 5 fine-tuned, random head",
        settings=_FINETUNING,
        small=_SMALL_TUNED,
        small_on={"bundled_vgg": {}},
        published=Published(
            accuracy=0.61667,
            quadratic_weighted_kappa=0.74487,
            leaderboard_places="26-27",
            measured_on=_MEASURED_ON,
            confusion=(
                (32, 7, 10, 4, 1),
                (13, 37, 11, 4, 0),
                (7, 3, 45, 6, 3),
                (1, 4, 8, 32, 15),
                (0, 3, 3, 12, 39),
            ),
        ),
        deviations=(_MEANS, _SAMPLE),
        **_TUNED,
    ),
    RecipeSpec(
        name="vgg16-dr-ft-learned",
        title="VGG16 block 5 fine-tuned, learned head",
        settings=_FINETUNING,
        small=_SMALL_TUNED,
        small_on={"bundled_vgg": {}},
        follows="vgg16-dr-mlp1",
        published=Published(
            accuracy=0.63,
            quadratic_weighted_kappa=0.72214,
            leaderboard_places="32-33",
            measured_on=_MEASURED_ON,
            confusion=((34, 11, 6, 2, 1), (5, 49, 8, 3, 0), (6, 12, 40, 5, 1), (3, 9, 10, 30, 8), (1, 3, 7, 10, 36)),
        ),
        deviations=(_MEANS, "The BatchNorm of the learned head is folded into the layer beside it.", _SAMPLE),
        **_TUNED,
    ),
    RecipeSpec(
        name="vgg16-dr-lr-augmented",
        title="VGG16 vectors of ten views, logistic regression",
        settings={**_MLP1, "head": "linear", **_TEN_VIEWS},
        small=_VIEWS_SMALL,
        deviations=(
            _MEANS,
            "Logistic regression by gradient steps, since ten views do not fit one solver.",
            _VIEWS,
            _SCALING,
        ),
        **_EXTRAS,
    ),
    RecipeSpec(
        name="vgg16-dr-mlp1-augmented",
        title="VGG16 vectors of ten views, one hidden layer",
        settings={**_MLP1, **_TEN_VIEWS},
        small=_VIEWS_SMALL,
        deviations=(_MEANS, _ADADELTA, _VIEWS, _SCALING),
        **_EXTRAS,
    ),
)
