"""The protocols of published results: what was measured on what, how, and what it may be held against.

Figures of different protocols are never put in one order: other images, another split or another definition of the
metric make another scale. The studies that can be repeated have their lines in the table of recipes, the others here
and in lib/recipes/literature.py. A figure stands here only where it was read at its source or in a work that reprints
it; `read_in` says which.
"""

from lib.recipes.literature import ANSWER, KAPPA, MLE_BENCH, RETINOPATHY_LITERATURE
from lib.recipes.spec import CATS_DOGS, FOOD, FUNDUS, Protocol, PublishedResult
from lib.registry import Registry

_STUDIES = (
    Protocol(
        name="vgg16-dr-1000",
        title="1,000 fundus photographs, 200 of each grade",
        study="VGG16 on diabetic retinopathy, 1,000 images",
        data="1,000 of the 35,126 training photographs of a 2015 competition, drawn at random, 200 of each grade",
        split="stratified: 30 % to test, seed 42; 10 % of the others to validate",
        num_images=300,
        definition=f"accuracy: {ANSWER}; kappa: {KAPPA}",
        comparable="Only with runs of the recipe on photographs of the same competition, 200 of each grade: the sample "
        "and the split were not published as a list. Leaderboard places are those of this kappa on the public "
        "leaderboard of 9 November 2016, on other test images: they stand beside these lines and no other.",
        task="grades",
        subject=FUNDUS,
    ),
    Protocol(
        name="inceptionv3-dr-balanced",
        title="InceptionV3 on balanced fundus photographs",
        study="InceptionV3 on diabetic retinopathy",
        data="photographs of a 2015 competition, undersampled to a balanced 750 for training",
        split="a balanced 200 to test; whether of each class or in all is not said",
        num_images=0,
        definition=f"accuracy: {ANSWER}, five grades",
        comparable="Only with runs of the recipe on photographs of the same competition. In whole per cent, and the "
        "number of test images is not clear, so no interval can be drawn.",
        task="grades",
        subject=FUNDUS,
    ),
    Protocol(
        name="explicit-dr-cited",
        title="Hand-made features, as the GoogLeNet series cites them",
        study="GoogLeNet on diabetic retinopathy",
        data="140 photographs of a study that the series cites; sets of 331 and of 55 patients without figures",
        split="not said",
        num_images=140,
        definition="accuracy and sensitivity of two classes",
        comparable="No: the series cites figures of others on sets and classes of their own, and has none itself.",
        task="referable",
        subject=FUNDUS,
        lines=(
            PublishedResult(
                title="Morphological features, two classes",
                values={"accuracy": 0.90, "sensitivity": 0.90},
                source="cited by the blog series, part 2, 2016",
                read_in="the series",
                year=2016,
            ),
        ),
    ),
    Protocol(
        name="vgg16-dogs-cats",
        title="Dogs against cats, 2,000 validation photographs",
        study="VGG16 on dogs against cats",
        data="25,000 photographs of a cats-and-dogs competition",
        split="23,000 to train, 2,000 to validate, which are also what is reported",
        num_images=2000,
        definition=f"accuracy: {ANSWER}; on validation images",
        comparable="With a run of the recipe on the same photographs; not on others.",
        task="cats_dogs",
        subject=CATS_DOGS,
    ),
    Protocol(
        name="vgg16-food-10",
        title="Ten classes of Food-101, 2,500 test photographs",
        study="VGG16 on ten classes of Food-101",
        data="Food-101, its first ten classes in alphabetical order",
        split="6,380 to train, 1,120 (15 %) to validate, 2,500 to test",
        num_images=2500,
        definition=f"accuracy: {ANSWER}; best validation: accuracy of the best epoch on augmented validation images",
        comparable="With a run of the recipe on the same ten classes; not on others.",
        task="food",
        subject=FOOD,
    ),
)
_PHOTOGRAPHS = (
    Protocol(
        name="dogs-cats-2013",
        title="Dogs against cats, the competition of 2013",
        data="photographs of a cats-and-dogs competition",
        split="the competition's hidden test images",
        definition=f"accuracy: {ANSWER}",
        comparable="No: hidden test images.",
        task="cats_dogs",
        subject=CATS_DOGS,
        lines=(
            PublishedResult(
                title="Winner, OverFeat",
                values={"accuracy": 0.989},
                source="KDnuggets, February 2014",
                url="http://www.kdnuggets.com/2014/02/deep-learning-wins-dogs-vs-cats-competition.html",
                read_in="the article",
                year=2014,
            ),
        ),
    ),
    Protocol(
        name="dogs-cats-redux",
        title="Dogs against cats, the second competition",
        data="photographs of a cats-and-dogs competition",
        split="the competition's hidden test images; MLE-bench may have a split of its own",
        definition="logarithmic loss, where less is better",
        comparable="No: hidden test images, and the marks are places, not networks.",
        task="cats_dogs",
        subject=CATS_DOGS,
        lines=(
            PublishedResult(title="Median", values={"log_loss": 0.122}, **MLE_BENCH),
            PublishedResult(title="Bronze mark", values={"log_loss": 0.061}, **MLE_BENCH),
            PublishedResult(title="Gold mark", values={"log_loss": 0.039}, **MLE_BENCH),
        ),
    ),
    Protocol(
        name="dogs-cats-scratch",
        title="Dogs against cats by a small network from scratch",
        data="photographs of a cats-and-dogs competition, about 90 bad ones removed",
        split="its own validation images",
        definition=f"accuracy: {ANSWER}; on validation images",
        comparable="No: its own split, and cleaned images.",
        task="cats_dogs",
        subject=CATS_DOGS,
        lines=(
            PublishedResult(
                title="Small network from scratch",
                values={"accuracy": 0.955},
                source="Satoszi",
                read_in="its README",
                note="On 100 images from the web 0.90.",
            ),
        ),
    ),
    Protocol(
        name="food-101-implausible",
        title="Food-101: a figure to doubt",
        data="Food-101, all classes",
        split="not clear",
        definition=f"accuracy: {ANSWER}",
        comparable="No: five epochs of a small network cannot be that far above everything else on this set. A good "
        "example of \u201ccheck the split\u201d.",
        task="food",
        subject=FOOD,
        lines=(
            PublishedResult(
                title="EfficientNet-B0, five epochs",
                values={"accuracy": 0.9754},
                source="International Journal of Intelligent Information Systems 2024",
                url="http://sciencepg.org/article/10.11648/j.ijiis.20241304.11",
                read_in="the article",
                year=2024,
            ),
        ),
    ),
)

PROTOCOLS: Registry[Protocol] = Registry("protocol")
for _protocol in (*_STUDIES, *RETINOPATHY_LITERATURE, *_PHOTOGRAPHS):
    PROTOCOLS.add(_protocol)

# What was found about transfer, as far as it is no figure of one classifier on one set.
FINDINGS = (
    (
        "Fine-tuning gains 2 points on images of the same kind and loses 7 on others, against a linear probe; a probe "
        "first, then fine-tuning, gains 1 and, against fine-tuning, 10 on others (ten shifted sets).",
        "Kumar et al. 2022, arXiv 2202.10054", "https://arxiv.org/abs/2202.10054",
    ),
    (
        "The better a network is on ImageNet, the better it transfers: r = 0.99 frozen, 0.96 fine-tuned, over 16 "
        "networks and 12 sets; on two fine-grained sets pretraining gains little.",
        "Kornblith et al. 2019, arXiv 1805.08974", "https://arxiv.org/abs/1805.08974",
    ),
    (
        "Fine-tuned networks are at least as good as those from scratch, and the gap grows as data shrink; how deep to "
        "tune depends on the task.",
        "Tajbakhsh et al. 2016, as others cite it", "",
    ),
    (
        "From scratch or fine-tuned, networks beat off-the-shelf features (computed tomography).",
        "Shin et al. 2016, as others cite it", "",
    ),
    (
        "Frozen features can do: good ones come close to end-to-end training, and beyond a size more pixels help no "
        "more (MedMNIST+: nearest neighbours, probe and end to end, three seeds).",
        "Doerrich et al. 2025, Scientific Reports", "",
    ),
    (
        "The winner of the 2015 retinopathy competition: a radius of 270 px is enough, ensembles hardly help, "
        "both eyes together by a random forest.",
        "interview with the winner, 2015", "",
    ),
    (
        "Food-101 has 750 noisy training and 250 reviewed test images of each class.",
        "design of the set, as others cite it", "",
    ),
)  # fmt: skip
