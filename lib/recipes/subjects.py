"""What the images of the studies show."""

from typing import Any

from lib.recipes.spec import Subject

FUNDUS = Subject(
    name="fundus",
    title="fundus photographs",
    published_data="photographs of a retinopathy competition (2015)",
    words=("eyepacs", "diabetic-retinopathy", "diabetic_retinopathy", "kaggle-dr"),
)
CATS_DOGS = Subject(
    name="cats_dogs",
    title="cats and dogs",
    published_data="photographs of a cats-and-dogs competition",
    words=(),
    class_words=("cat", "dog"),
    stand_in={"target_map": "any_dr"},
    stand_in_words="as two classes, no retinopathy and any",
)
FOOD = Subject(
    name="food",
    title="food",
    published_data="Food-101, its first ten classes",
    words=("food",),
    stand_in_words="with its five grades for ten classes",
)

# What every fine-tuning and MLP of the Keras studies shares: nothing that was not there is switched on.
AS_IN_KERAS: dict[str, Any] = {
    "schedule": "constant",
    "warmup_fraction": 0.0,
    "weight_decay": 0.0,
    "class_weights": "none",
    "augmentation": "none",
}
