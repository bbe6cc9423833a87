"""Study 5: ten classes of Food-101 from scratch, by a frozen VGG16, and with its last layers fine-tuned."""

from typing import Any

from lib.recipes.spec import Published, RecipeSpec, Study
from lib.recipes.subjects import AS_IN_KERAS, FOOD

STUDY = Study("vgg16-food", "VGG16 on ten classes of Food-101", "tutorial, LearnDataSci", 2021, "Keras")

_MEASURED_ON = "2,500 test photographs"
_COMMON: dict[str, Any] = {
    **AS_IN_KERAS,
    "max_classes": 10,
    "test_fraction": 0.25,
    "val_fraction": 0.15,
    "batch_size": 64,
    "augmentation": "tutorial",
    "optimizer": "adam",
    "patience": 10,
    "epochs": 50,
}
_EXTRAS: dict[str, Any] = {
    "study": STUDY,
    "subject": FOOD,
    "protocol": "The first ten classes in alphabetical order: 6,380 photographs to train, 1,120 (15 %) to validate, "
    "2,500 to test; batches of 64; at most 50 epochs, the best by validation loss, patience 10.",
}
_TRANSFER: dict[str, Any] = {
    **_COMMON,
    "backbone": "vgg16",
    "feature_stage": "conv5_3",
    "pooling": "flatten",
    "input_size_px": 224,
    "head": "mlp_4096_1072",
}
_ELSEWHERE = {"feature_stage": None, "pooling": None, "input_size_px": None}
_MEANS = "RGB with ImageNet mean and deviation, where the tutorial has VGG's own preprocessing in BGR."
_SMALL_VIEWS = {"num_views": 3, "max_per_class": 60, "input_size_px": 128, "batch_size": 32}
_BUNDLED_VIEWS = {"num_views": 3, "max_per_class": 200, "batch_size": 32}

RECIPES = (
    RecipeSpec(
        name="cnn-food-scratch",
        title="Seven-convolution network from scratch",
        settings={
            **_COMMON,
            "backbone": "cnn_food",
            "strategy": "from_scratch",
            "learning_rate": 1e-3,
            "input_size_px": 128,
        },
        small={"max_per_class": 30, "epochs": 3, "input_size_px": 96, "batch_size": 32, "augmentation": "flip"},
        published=Published(accuracy=0.5696, measured_on=_MEASURED_ON),
        deviations=(
            "The published layers, eight convolutions in all, give the published 10,588,458 parameters.",
            "A ReLU after every convolution and dropout of 0.25 and 0.5: the tutorial's own are not all stated.",
            "The learning rate (1e-3) is the framework's default.",
        ),
        **_EXTRAS,
    ),
    RecipeSpec(
        name="vgg16-food-transfer",
        title="VGG16 frozen, layers of 4096 and 1072 units",
        settings={**_TRANSFER, "strategy": "feature_extraction", "learning_rate": 1e-3},
        elsewhere=_ELSEWHERE,
        small={**_SMALL_VIEWS, "epochs": 20},
        small_on={"bundled_vgg": {**_BUNDLED_VIEWS, "epochs": 20}},
        published=Published(accuracy=0.7324, measured_on=_MEASURED_ON),
        deviations=(_MEANS,),
        **_EXTRAS,
    ),
    RecipeSpec(
        name="vgg16-food-finetune",
        title="VGG16 with its last two layers fine-tuned",
        settings={**_TRANSFER, "strategy": "partial_finetuning", "unfreeze_from": "conv5_3", "learning_rate": 1e-4},
        elsewhere={**_ELSEWHERE, "unfreeze_from": None},
        stages_on={"bundled_vgg": {"unfreeze_from": "block5"}},
        small={**_SMALL_VIEWS, "epochs": 8},
        small_on={"bundled_vgg": {**_BUNDLED_VIEWS, "epochs": 12}},
        published=Published(accuracy=0.8152, measured_on=_MEASURED_ON),
        deviations=(
            _MEANS,
            "The last two layers are the last convolution and its pooling, which has nothing to train: conv5_3.",
        ),
        **_EXTRAS,
    ),
)
