"""The table of recipes, study by study: one entry is all that page, command line and files know of an experiment.

`assets/published_results.json` is written from it: `python -m lib recipes list --write-published`.
"""

from typing import Any

from lib.recipes.spec import CATS_DOGS, FOOD, FUNDUS, Published, RecipeSpec, Study
from lib.registry import Registry

# What every fine-tuning and MLP of the Keras studies shares: nothing that was not there is switched on.
_AS_IN_KERAS: dict[str, Any] = {
    "schedule": "constant", "warmup_fraction": 0.0, "weight_decay": 0.0, "class_weights": "none",
    "augmentation": "none",
}  # fmt: skip

# Study 1: VGG16 on 1,000 fundus photographs, from logistic regression to fine-tuning of the last block.

_MEANS = "RGB with ImageNet mean and deviation, where the study has BGR with means only."
_SAMPLE = "Another sample and another split than the study's: neither was published as a list."
_ADADELTA = "Adadelta starts at 1.0, the framework's default of that time is not stated in the study."
_VIEWS = "Each epoch shows one of the ten views of an image, so ten times as many epochs would be as many steps."
_SCALING = "No feature-wise centring and scaling of the pixels: the network's own normalisation takes its place."

_VGG: dict[str, Any] = {
    "study": Study("VGG16 on diabetic retinopathy, 1,000 images", "talk, November 2016", 2016, "Keras"),
    "subject": FUNDUS,
    "protocol": "200 photographs of each grade, drawn at random; a stratified 30 % (300) to test, split seed 42; 10 % "
    "of the others to validate; 224 px; batches of 32.",
    "elsewhere": {"feature_stage": None, "pooling": None, "input_size_px": None},
}
_VGG_SETTINGS: dict[str, Any] = {
    **_AS_IN_KERAS, "backbone": "vgg16", "feature_stage": "conv5_3", "pooling": "flatten", "input_size_px": 224,
    "max_per_class": 200, "test_fraction": 0.3, "val_fraction": 0.1, "split_seed": 42, "batch_size": 32,
}  # fmt: skip
_MLP1 = dict(_VGG_SETTINGS, strategy="feature_extraction", head="mlp", optimizer="adadelta", learning_rate=1.0)
_TEN_VIEWS = {"augmentation": "ten_views", "num_views": 10, "epochs": 75, "patience": 75}
_VIEWS_SMALL = {"max_per_class": 60, "input_size_px": 128, "epochs": 30, "patience": 30}
_VGG_TUNED: dict[str, Any] = {
    **_VGG,
    "settings": {
        **_VGG_SETTINGS, "strategy": "partial_finetuning", "unfreeze_from": "conv5_1", "head": "mlp_plain",
        "optimizer": "sgd", "learning_rate": 1e-4, "momentum": 0.9, "epochs": 20, "patience": 20,
    },
    "elsewhere": {**_VGG["elsewhere"], "unfreeze_from": None},
    "stages_on": {"bundled_vgg": {"unfreeze_from": "block5"}},
    "small": {"max_per_class": 100, "input_size_px": 128, "epochs": 10},
    "small_on": {
        "bundled_vgg": {},
        "efficientnet_lite0": {"max_per_class": 100, "epochs": 10, "learning_rate": 3e-3, "batchnorm": "frozen"},
    },
}  # fmt: skip


def _of_300(accuracy: float, kappa: float, places: str, confusion: tuple[tuple[int, ...], ...]) -> Published:
    return Published(
        accuracy=accuracy, quadratic_weighted_kappa=kappa, leaderboard_places=places, confusion=confusion,
        measured_on="300 test photographs",
    )  # fmt: skip


_VGG16_RETINOPATHY = (
    RecipeSpec(
        name="vgg16-dr-lr",
        title="VGG16 vectors, logistic regression",
        settings=dict(_VGG_SETTINGS, strategy="linear_probe"),
        published=_of_300(
            0.36333, 0.51096, "79-80",
            ((15, 19, 17, 9, 0), (20, 24, 10, 5, 1), (12, 13, 13, 12, 10), (7, 4, 11, 24, 14), (4, 2, 11, 10, 33)),
        ),
        deviations=(
            _MEANS,
            "Features are standardised and the penalty is chosen on the validation part; the study took the defaults.",
            _SAMPLE,
        ),
        **_VGG,
    ),
    RecipeSpec(
        name="vgg16-dr-mlp1",
        title="VGG16 vectors, one hidden layer",
        settings=dict(_MLP1, epochs=50, patience=50),
        published=_of_300(
            0.66667, 0.74558, "25-26",
            ((40, 6, 8, 0, 0), (5, 46, 12, 2, 0), (7, 5, 46, 4, 2), (5, 5, 8, 31, 11), (2, 3, 6, 9, 37)),
        ),
        deviations=(_MEANS, _ADADELTA, _SAMPLE),
        **_VGG,
    ),
    RecipeSpec(
        name="vgg16-dr-mlp2",
        title="VGG16 vectors, two hidden layers",
        settings=dict(_MLP1, head="mlp_two_layers", learning_rate=0.1, epochs=50, patience=50),
        published=_of_300(
            0.63333, 0.70822, "",
            ((36, 11, 4, 1, 2), (13, 45, 4, 1, 2), (5, 15, 35, 5, 4), (5, 8, 6, 31, 10), (4, 1, 3, 6, 43)),
        ),
        deviations=(_MEANS, _SAMPLE),
        **_VGG,
    ),
    RecipeSpec(
        name="vgg16-dr-ft-random",
        title="VGG16 block 5 fine-tuned, random head",
        published=_of_300(
            0.61667, 0.74487, "26-27",
            ((32, 7, 10, 4, 1), (13, 37, 11, 4, 0), (7, 3, 45, 6, 3), (1, 4, 8, 32, 15), (0, 3, 3, 12, 39)),
        ),
        deviations=(_MEANS, _SAMPLE),
        **_VGG_TUNED,
    ),
    RecipeSpec(
        name="vgg16-dr-ft-learned",
        title="VGG16 block 5 fine-tuned, learned head",
        follows="vgg16-dr-mlp1",
        published=_of_300(
            0.63, 0.72214, "32-33",
            ((34, 11, 6, 2, 1), (5, 49, 8, 3, 0), (6, 12, 40, 5, 1), (3, 9, 10, 30, 8), (1, 3, 7, 10, 36)),
        ),
        deviations=(_MEANS, "The BatchNorm of the learned head is folded into the layer beside it.", _SAMPLE),
        **_VGG_TUNED,
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
        **_VGG,
    ),
    RecipeSpec(
        name="vgg16-dr-mlp1-augmented",
        title="VGG16 vectors of ten views, one hidden layer",
        settings={**_MLP1, **_TEN_VIEWS},
        small=_VIEWS_SMALL,
        deviations=(_MEANS, _ADADELTA, _VIEWS, _SCALING),
        **_VGG,
    ),
)  # fmt: skip

# Study 2: GoogLeNet fine-tuned on fundus photographs, and the explicit features that it is held against.

_SERIES = Study("GoogLeNet on diabetic retinopathy", "blog series, part 2, 2016", 2016, "Theano, Lasagne")
_GOOGLENET: dict[str, Any] = {
    "study": _SERIES,
    "subject": FUNDUS,
    "protocol": "About 30,000 photographs with four labels, trained to tell two classes apart; no split is published, "
    "so the usual fifths to test and to validate.",
    "elsewhere": {"unfreeze_from": None},
    # As published: all but the convolutions at a half and a quarter of the side, which comes first in both.
    "stages_on": {name: {"unfreeze_from": "block3"} for name in ("efficientnet_lite0", "bundled_vgg")},
    # A hundredth of the steps needs a higher rate to get anywhere.
    "small": {"max_per_class": 60, "input_size_px": 128, "epochs": 20, "learning_rate": 4e-4},
}
_GOOGLENET_SETTINGS: dict[str, Any] = {
    **_AS_IN_KERAS, "backbone": "googlenet", "strategy": "partial_finetuning", "unfreeze_from": "inception3a",
    "head": "linear", "augmentation": "rotations", "batchnorm": "frozen", "optimizer": "sgd", "learning_rate": 1e-4,
    "momentum": 0.9, "weight_decay": 5e-4, "schedule": "step", "epochs": 30, "patience": 10,
}  # fmt: skip
_GOOGLENET_DEVIATIONS = (
    "Rate 1e-4, L2 5e-4, momentum, schedule and epochs are ours: the source says very small rate and decay.",
    "The first two layers are read as both convolutions before the first inception module.",
    "This GoogLeNet has BatchNorm, which the original has not; it stays as pretrained.",
)

_GOOGLENET_RETINOPATHY = (
    RecipeSpec(
        name="googlenet-dr-ft",
        title="GoogLeNet fine-tuned, two classes",
        settings=dict(_GOOGLENET_SETTINGS, target_map="any_dr"),
        deviations=(
            "Two classes are no retinopathy and any: the source does not say where it cuts.",
            *_GOOGLENET_DEVIATIONS,
        ),
        **_GOOGLENET,
    ),
    RecipeSpec(
        name="googlenet-dr-ft-four",
        title="GoogLeNet fine-tuned, four classes",
        settings=dict(_GOOGLENET_SETTINGS, target_map="four_classes"),
        deviations=(
            "Four classes join severe and proliferative: the source does not name its four labels.",
            *_GOOGLENET_DEVIATIONS,
        ),
        **_GOOGLENET,
    ),
    RecipeSpec(
        name="handcrafted-dr-svm",
        title="Hand-made lesion and vessel features, SVM",
        study=_SERIES,
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

# Study 3: InceptionV3 on balanced fundus photographs: end to end, transfer, and fine-tuning after transfer.

_INCEPTION: dict[str, Any] = {
    "study": Study("InceptionV3 on diabetic retinopathy", "thesis, October 2020", 2020, "Keras"),
    "subject": FUNDUS,
    "protocol": "Training images undersampled to a balanced 750, test images to a balanced 200, five classes; "
    "checkpoint, CSV log, learning-rate schedule.",
    "elsewhere": {"feature_stage": None, "pooling": None},
}
_INCEPTION_SETTINGS: dict[str, Any] = {
    **_AS_IN_KERAS, "backbone": "inception_v3", "max_train_per_class": 750, "max_test_per_class": 200,
    "val_fraction": 0.1, "optimizer": "adam", "learning_rate": 1e-4, "schedule": "plateau",
}  # fmt: skip
_INCEPTION_DEVIATIONS = (
    "750 and 200 are read as images a class, and a tenth of the training images validates: the report does not say.",
    "Optimizer (Adam), batch size (32) and schedule (a drop at a plateau) are not stated in the report.",
)
_BALANCED = "a balanced 200 test photographs"

_INCEPTION_RETINOPATHY = (
    RecipeSpec(
        name="inceptionv3-dr-scratch",
        title="InceptionV3 end to end",
        settings=dict(_INCEPTION_SETTINGS, strategy="from_scratch", epochs=100, patience=100),
        small={"max_per_class": 100, "input_size_px": 75, "epochs": 10},
        published=Published(accuracy=0.40, measured_on=_BALANCED),
        deviations=_INCEPTION_DEVIATIONS,
        **_INCEPTION,
    ),
    RecipeSpec(
        name="inceptionv3-dr-transfer",
        title="InceptionV3 frozen, new classifier",
        settings=dict(_INCEPTION_SETTINGS, strategy="feature_extraction", head="linear", epochs=30, patience=30),
        published=Published(accuracy=0.48, measured_on=_BALANCED),
        deviations=(*_INCEPTION_DEVIATIONS, "The new classifier is read as one linear layer."),
        **_INCEPTION,
    ),
    RecipeSpec(
        name="inceptionv3-dr-transfer-finetune",
        title="InceptionV3 fine-tuned after transfer",
        settings={
            **_INCEPTION_SETTINGS, "strategy": "full_finetuning", "head": "linear", "learning_rate": 2e-6,
            "batchnorm": "statistics_frozen", "epochs": 70, "patience": 70,
        },
        small={"max_per_class": 60, "input_size_px": 128, "epochs": 6},
        small_on={"bundled_vgg": {"max_per_class": 120, "epochs": 3}},
        follows="inceptionv3-dr-transfer",
        published=Published(accuracy=0.52, measured_on=_BALANCED),
        deviations=(
            *_INCEPTION_DEVIATIONS,
            "All layers are fine-tuned: the report does not say how many.",
            "BatchNorm keeps its statistics: new ones come faster than weights at this rate and leave the head behind.",
        ),
        **_INCEPTION,
    ),
)  # fmt: skip

# Study 4: VGG16 cut at its second wide layer, one sigmoid unit, dogs against cats.
_VGG16_CATS_DOGS = (
    RecipeSpec(
        name="vgg16-dogscats",
        title="VGG16 cut at fc2, one sigmoid unit",
        study=Study("VGG16 on dogs against cats", "article, May 2017", 2017, "Keras"),
        subject=CATS_DOGS,
        protocol="23,000 photographs to train, 2,000 to validate, which here are the test images; 224 px; batches of "
        "64; one epoch.",
        settings={
            **_AS_IN_KERAS, "backbone": "vgg16", "strategy": "feature_extraction", "feature_stage": "fc2",
            "pooling": "none", "head": "linear", "output": "sigmoid", "optimizer": "adam", "learning_rate": 1e-3,
            "epochs": 1, "batch_size": 64, "input_size_px": 224, "test_fraction": 0.08, "val_fraction": 0.02,
        },
        elsewhere={"feature_stage": "last_vector", "pooling": "none", "input_size_px": None},
        published=Published(accuracy=0.983, measured_on="2,000 validation photographs"),
        deviations=(
            "RGB with ImageNet mean and deviation, where the study has BGR with means only.",
            "2 % of the training images are set aside: the program always validates apart from the test images.",
        ),
        # Few images make few steps: as many of them as the published epoch over 23,000 images.
        small={"batch_size": 32, "test_fraction": 0.2, "epochs": 25},
    ),
)  # fmt: skip

# Study 5: ten classes of Food-101 from scratch, by a frozen VGG16, and with its last layers fine-tuned.

_FOOD: dict[str, Any] = {
    "study": Study("VGG16 on ten classes of Food-101", "tutorial, LearnDataSci", 2021, "Keras"),
    "subject": FOOD,
    "protocol": "The first ten classes in alphabetical order: 6,380 photographs to train, 1,120 (15 %) to validate, "
    "2,500 to test; batches of 64; at most 50 epochs, the best by validation loss, patience 10.",
}
_FOOD_SETTINGS: dict[str, Any] = {
    **_AS_IN_KERAS, "max_classes": 10, "test_fraction": 0.25, "val_fraction": 0.15, "batch_size": 64,
    "augmentation": "tutorial", "optimizer": "adam", "patience": 10, "epochs": 50,
}  # fmt: skip
_FOOD_VGG: dict[str, Any] = {
    **_FOOD_SETTINGS, "backbone": "vgg16", "feature_stage": "conv5_3", "pooling": "flatten", "input_size_px": 224,
    "head": "mlp_4096_1072",
}  # fmt: skip
_FOOD_MEANS = "RGB with ImageNet mean and deviation, where the tutorial has VGG's own preprocessing in BGR."
_FOOD_TESTED = "2,500 test photographs"
_SMALL_VIEWS = {"num_views": 3, "max_per_class": 60, "input_size_px": 128, "batch_size": 32}
_BUNDLED_VIEWS = {"num_views": 3, "max_per_class": 200, "batch_size": 32}

_VGG16_FOOD = (
    RecipeSpec(
        name="cnn-food-scratch",
        title="Seven-convolution network from scratch",
        settings=dict(
            _FOOD_SETTINGS, backbone="cnn_food", strategy="from_scratch", learning_rate=1e-3, input_size_px=128
        ),
        small={"max_per_class": 30, "epochs": 3, "input_size_px": 96, "batch_size": 32, "augmentation": "flip"},
        published=Published(
            accuracy=0.5696,
            measured_on=_FOOD_TESTED,
            note="10,588,458 parameters; the text says about 58 %.",
        ),
        deviations=(
            "The published layers, eight convolutions in all, give the published 10,588,458 parameters.",
            "A ReLU after every convolution and dropout of 0.25 and 0.5: the tutorial's own are not all stated.",
            "The learning rate (1e-3) is the framework's default.",
        ),
        **_FOOD,
    ),
    RecipeSpec(
        name="vgg16-food-transfer",
        title="VGG16 frozen, layers of 4096 and 1072 units",
        settings=dict(_FOOD_VGG, strategy="feature_extraction", learning_rate=1e-3),
        elsewhere=_VGG["elsewhere"],
        small={**_SMALL_VIEWS, "epochs": 20},
        small_on={"bundled_vgg": {**_BUNDLED_VIEWS, "epochs": 20}},
        published=Published(
            accuracy=0.7324,
            measured_on=_FOOD_TESTED,
            validation_accuracy=0.617,
            seconds=52 * 60 + 7,
            note="The last epoch took 110 s.",
        ),
        deviations=(_FOOD_MEANS,),
        **_FOOD,
    ),
    RecipeSpec(
        name="vgg16-food-finetune",
        title="VGG16 with its last two layers fine-tuned",
        settings=dict(_FOOD_VGG, strategy="partial_finetuning", unfreeze_from="conv5_3", learning_rate=1e-4),
        elsewhere={**_VGG["elsewhere"], "unfreeze_from": None},
        stages_on={"bundled_vgg": {"unfreeze_from": "block5"}},
        small={**_SMALL_VIEWS, "epochs": 8},
        small_on={"bundled_vgg": {**_BUNDLED_VIEWS, "epochs": 12}},
        published=Published(
            accuracy=0.8152,
            measured_on=_FOOD_TESTED,
            validation_accuracy=0.718,
            seconds=72 * 60 + 19,
        ),
        deviations=(
            _FOOD_MEANS,
            "The last two layers are the last convolution and its pooling, which has nothing to train: conv5_3.",
        ),
        **_FOOD,
    ),
)

RECIPES: Registry[RecipeSpec] = Registry("recipe")
for _study in (_VGG16_RETINOPATHY, _GOOGLENET_RETINOPATHY, _INCEPTION_RETINOPATHY, _VGG16_CATS_DOGS, _VGG16_FOOD):
    for _recipe in _study:
        RECIPES.add(_recipe)
