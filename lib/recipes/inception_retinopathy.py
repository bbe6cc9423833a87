"""Study 3: InceptionV3 on balanced fundus photographs: end to end, transfer, and fine-tuning after transfer."""

from typing import Any

from lib.recipes.spec import Published, RecipeSpec, Study
from lib.recipes.subjects import AS_IN_KERAS, FUNDUS

STUDY = Study("inceptionv3-dr", "InceptionV3 on diabetic retinopathy", "thesis, October 2020", 2020, "Keras")

_MEASURED_ON = "a balanced 200 test photographs"
_COMMON: dict[str, Any] = {
    **AS_IN_KERAS,
    "backbone": "inception_v3",
    "max_train_per_class": 750,
    "max_test_per_class": 200,
    "val_fraction": 0.1,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "schedule": "plateau",
}
_EXTRAS: dict[str, Any] = {
    "study": STUDY,
    "subject": FUNDUS,
    "protocol": "Training images undersampled to a balanced 750, test images to a balanced 200, five classes; "
    "checkpoint, CSV log, learning-rate schedule.",
    "elsewhere": {"feature_stage": None, "pooling": None},
}
_DEVIATIONS = (
    "750 and 200 are read as images a class, and a tenth of the training images validates: the report does not say.",
    "Optimizer (Adam), batch size (32) and schedule (a drop at a plateau) are not stated in the report.",
)

RECIPES = (
    RecipeSpec(
        name="inceptionv3-dr-scratch",
        title="InceptionV3 end to end",
        settings={**_COMMON, "strategy": "from_scratch", "epochs": 100, "patience": 100},
        small={"max_per_class": 100, "input_size_px": 75, "epochs": 10},
        published=Published(accuracy=0.40, measured_on=_MEASURED_ON),
        deviations=_DEVIATIONS,
        **_EXTRAS,
    ),
    RecipeSpec(
        name="inceptionv3-dr-transfer",
        title="InceptionV3 frozen, new classifier",
        settings={**_COMMON, "strategy": "feature_extraction", "head": "linear", "epochs": 30, "patience": 30},
        published=Published(accuracy=0.48, measured_on=_MEASURED_ON),
        deviations=(*_DEVIATIONS, "The new classifier is read as one linear layer."),
        **_EXTRAS,
    ),
    RecipeSpec(
        name="inceptionv3-dr-transfer-finetune",
        title="InceptionV3 fine-tuned after transfer",
        settings={
            **_COMMON,
            "strategy": "full_finetuning",
            "head": "linear",
            "learning_rate": 2e-6,
            "batchnorm": "statistics_frozen",
            "epochs": 70,
            "patience": 70,
        },
        small={"max_per_class": 60, "input_size_px": 128, "epochs": 6},
        small_on={"bundled_vgg": {"max_per_class": 120, "epochs": 3}},
        follows="inceptionv3-dr-transfer",
        published=Published(accuracy=0.52, measured_on=_MEASURED_ON),
        deviations=(
            *_DEVIATIONS,
            "All layers are fine-tuned: the report does not say how many.",
            "BatchNorm keeps its statistics: new ones come faster than weights at this rate and leave the head behind.",
        ),
        **_EXTRAS,
    ),
)
