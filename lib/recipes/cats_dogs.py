"""Study 4: VGG16 cut at its second wide layer, one sigmoid unit, dogs against cats."""

from lib.recipes.spec import Published, RecipeSpec, Study
from lib.recipes.subjects import AS_IN_KERAS, CATS_DOGS

STUDY = Study("vgg16-dogscats", "VGG16 on dogs against cats", "article, May 2017", 2017, "Keras")

RECIPES = (
    RecipeSpec(
        name="vgg16-dogscats",
        title="VGG16 cut at fc2, one sigmoid unit",
        study=STUDY,
        subject=CATS_DOGS,
        protocol="23,000 photographs to train, 2,000 to validate, which here are the test images; 224 px; batches of "
        "64; one epoch.",
        settings={
            **AS_IN_KERAS,
            "backbone": "vgg16",
            "strategy": "feature_extraction",
            "feature_stage": "fc2",
            "pooling": "none",
            "head": "linear",
            "output": "sigmoid",
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "epochs": 1,
            "batch_size": 64,
            "input_size_px": 224,
            "test_fraction": 0.08,
            "val_fraction": 0.02,
        },
        elsewhere={"feature_stage": "last_vector", "pooling": "none", "input_size_px": None},
        published=Published(accuracy=0.983, measured_on="2,000 validation photographs"),
        deviations=(
            "RGB with ImageNet mean and deviation, where the study has BGR with means only.",
            "2 % of the training images are set aside: the program always validates apart from the test images.",
        ),
        # Few images make few steps: the published batches of 64 would be a dozen.
        # As many steps as the published epoch over 23,000 images.
        small={"batch_size": 32, "test_fraction": 0.2, "epochs": 25},
    ),
)
