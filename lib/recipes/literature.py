"""Published results of others on retinopathy: RetinaMNIST, grades, referable disease, transfer against scratch.

Each protocol is a board by itself, see lib/recipes/protocols.py. A figure stands here only where it was read at its
source or in a work that reprints it; `read_in` says which.
"""

from typing import Any

from lib.recipes.spec import FUNDUS, Protocol, PublishedResult, Subject

KAPPA = "Cohen's kappa with quadratic weights, five grades"
ANSWER = "share of images whose most probable class is the true one"
_OTHER_SPLIT = "No: other photographs and another split than ours."

RETINA_MNIST = Subject(published_data="RetinaMNIST of MedMNIST v2", words=("retinamnist", "retina_mnist"))
APTOS = Subject(published_data="photographs of the APTOS 2019 competition", words=("aptos",))

# C1. RetinaMNIST.
_MEDMNIST: dict[str, Any] = {
    "source": "MedMNIST v2, table 3 (Yang et al., Scientific Data 2023)",
    "url": "https://doi.org/10.1038/s41597-022-01721-8",
    "read_in": "the README of rapotekhin/RetinaMNIST_Research, which reprints the table",
    "year": 2023,
}
_RERUN: dict[str, Any] = {
    "source": "rapotekhin/RetinaMNIST_Research",
    "url": "https://github.com/rapotekhin/RetinaMNIST_Research",
    "read_in": "its README",
}


def _medmnist(title: str, auroc: float, accuracy: float) -> PublishedResult:
    upscaled = "(224)" in title
    note = "224 px are 28 px enlarged (nearest), not the photographs at 224 px." if upscaled else ""
    return PublishedResult(title=title, values={"auroc": auroc, "accuracy": accuracy}, note=note, **_MEDMNIST)


# C2. Grades of retinopathy.
_BLOODAXE: dict[str, Any] = {
    "source": "BloodAxe, APTOS 2019 solution",
    "read_in": "its README",
    "year": 2019,
}
MLE_BENCH: dict[str, Any] = {"source": "MLE-bench report", "read_in": "the report of MLE-bench"}
_GRADING = "https://huggingface.co/seige-ml/FundusDRGrading"
_CONVNEXT: dict[str, Any] = {
    "title": "ConvNeXt-S",
    "source": "FundusDRGrading, ConvNeXt-S",
    "url": f"{_GRADING}-convnext_small",
    "read_in": "its model card",
    "note": "Reported by its authors.",
}
_DINO: dict[str, Any] = {
    "title": "DINOv2 ViT-B/14",
    "source": "FundusDRGrading, DINOv2 ViT-B/14",
    "url": f"{_GRADING}-vit_base_patch14_dinov2",
    "read_in": "its model card",
    "note": "Reported by its authors.",
}


def _grading(set_name: str, convnext: float, dino: float) -> Protocol:
    return Protocol(
        name=f"fundus-dr-grading-{set_name.lower()}",
        title=f"Two networks of one project on {set_name}",
        data=set_name,
        split="the project's own, as its model cards report it",
        definition=KAPPA,
        comparable=f"No: photographs of {set_name}, with a split of its own. Each set is a board by itself.",
        task="grades",
        subject=Subject(published_data=f"photographs of {set_name}", words=(set_name.lower(),)),
        lines=(
            PublishedResult(values={"quadratic_weighted_kappa": convnext}, **_CONVNEXT),
            PublishedResult(values={"quadratic_weighted_kappa": dino}, **_DINO),
        ),
    )


def _shift(title: str, kappa: float, note: str = "") -> PublishedResult:
    return PublishedResult(title=title, values={"quadratic_weighted_kappa": kappa}, note=note, **_BLOODAXE)


# C3. Referable retinopathy.
_GULSHAN: dict[str, Any] = {
    "source": "Gulshan et al., JAMA 2016",
    "url": "https://doi.org/10.1001/jama.2016.17216",
    "read_in": "its abstract",
    "year": 2016,
}


def _point(title: str, sensitivity: float, specificity: float) -> PublishedResult:
    return PublishedResult(title=title, values={"sensitivity": sensitivity, "specificity": specificity}, **_GULSHAN)


_IDX: dict[str, Any] = {
    "source": "IDx-DR pivotal trial, npj Digital Medicine 2018",
    "url": "https://www.nature.com/articles/s41746-018-0040-6",
    "read_in": "the paper",
    "year": 2018,
}

# C4. Transfer against training from scratch.
_TRANSFUSION: dict[str, Any] = {
    "source": "Raghu et al. 2019, Transfusion",
    "url": "https://arxiv.org/abs/1902.07208",
    "read_in": "a work that reprints its table",
    "year": 2019,
}


def _transfusion(title: str, auroc: float, error: float = 0.0) -> PublishedResult:
    note = f"± {error:.4f} over runs." if error else ""
    return PublishedResult(title=title, values={"auroc": auroc}, note=note, **_TRANSFUSION)


_REFERABLE = "moderate retinopathy or worse, or macular oedema"
_TRANSFUSION_ABOUT: dict[str, Any] = {
    "definition": "area under the ROC curve of referable retinopathy",
    "task": "referable",
    "subject": FUNDUS,
    "comparable": "No: other photographs, many times as many. What can be held against ours is the step "
    "from random to pretrained weights, not the height.",
}

RETINOPATHY_LITERATURE = (
    Protocol(
        name="retinamnist",
        title="RetinaMNIST, 400 test images",
        data="RetinaMNIST of MedMNIST v2 (from DeepDRiD), five grades",
        split="the set's own: 1,080 to train, 120 to validate, 400 to test",
        num_images=400,
        definition=f"accuracy: {ANSWER}; AUROC as MedMNIST computes it; the table has means of at least three runs",
        comparable="With runs on RetinaMNIST and its own split, at the size that the line says; on 400 images the 95 % "
        "interval of an accuracy is about 0.05 to either side, wider than the table.",
        task="grades",
        subject=RETINA_MNIST,
        lines=(
            _medmnist("ResNet-18 (28)", 0.717, 0.524),
            _medmnist("ResNet-18 (224)", 0.710, 0.493),
            _medmnist("ResNet-50 (28)", 0.726, 0.528),
            _medmnist("ResNet-50 (224)", 0.716, 0.511),
            _medmnist("auto-sklearn", 0.690, 0.515),
            _medmnist("AutoKeras", 0.719, 0.503),
            _medmnist("Google AutoML Vision", 0.750, 0.531),
            PublishedResult(title="ResNet-18 (28), run again", values={"auroc": 0.712, "accuracy": 0.513}, **_RERUN),
            PublishedResult(
                title="… with augmentation, focal loss and dropout",
                values={"auroc": 0.753, "accuracy": 0.533, "validation_accuracy": 0.608},
                note="In validation AUROC 0.838 and accuracy 0.608: 8.5 and 7.5 points above the test.",
                **_RERUN,
            ),
        ),
    ),
    Protocol(
        name="aptos-private",
        title="APTOS 2019, marks of the private leaderboard",
        data="photographs of the APTOS 2019 competition",
        split="the competition's hidden test images; MLE-bench may have a split and test images of its own",
        definition=KAPPA,
        comparable="No: the test images are hidden, and the marks are places, not networks.",
        task="grades",
        subject=APTOS,
        lines=(
            PublishedResult(title="Median", values={"quadratic_weighted_kappa": 0.889}, **MLE_BENCH),
            PublishedResult(title="Bronze mark", values={"quadratic_weighted_kappa": 0.914}, **MLE_BENCH),
            PublishedResult(title="Gold mark", values={"quadratic_weighted_kappa": 0.931}, **MLE_BENCH),
            PublishedResult(
                title="ResNet34 and EfficientNet-B6 together",
                values={"quadratic_weighted_kappa": 0.904},
                source="filipmu, APTOS 2019 entry (top 37 %)",
                read_in="its README",
                year=2019,
            ),
        ),
    ),
    Protocol(
        name="aptos-folds",
        title="APTOS 2019, four folds of the training photographs",
        data="training photographs of the APTOS 2019 competition",
        split="cross-validation with four folds",
        definition=KAPPA,
        comparable="No: its own folds. The same networks fall far on the public leaderboard, the next board.",
        task="grades",
        subject=APTOS,
        lines=(
            _shift("ResNet-18", 0.908),
            _shift("SE-ResNeXt50", 0.921),
            _shift("SE-ResNeXt50, regression", 0.923),
        ),
    ),
    Protocol(
        name="aptos-public",
        title="The same networks on the public leaderboard",
        data="photographs of the APTOS 2019 competition",
        split="the competition's hidden public test images",
        definition=KAPPA,
        comparable="No: hidden test images of other cameras than the training ones. Held against the folds, it shows "
        "the fall from one source of images to another.",
        task="grades",
        subject=APTOS,
        lines=(
            _shift("ResNet-18", 0.625),
            _shift("SE-ResNeXt50", 0.772),
            _shift("SE-ResNeXt50, regression", 0.787),
        ),
    ),
    Protocol(
        name="aptos-elsewhere",
        title="Trained on APTOS, tested on other sets",
        data="Messidor, IDRiD, EyePACS 2015, and APTOS itself",
        split="not said",
        definition=f"unlabelled there, read as its table: {KAPPA}",
        comparable="No: each line is another set. They show what a classifier is worth away from home.",
        task="grades",
        subject=APTOS,
        is_ranked=False,
        lines=(
            _shift("on Messidor", 0.55, "In the middle of the competition."),
            _shift("on IDRiD", 0.72, "In the middle of the competition."),
            _shift("on EyePACS 2015", 0.47, "In the middle of the competition."),
            _shift("on APTOS itself", 0.97, "Images that it had seen."),
        ),
    ),
    _grading("EyePACS", 0.789, 0.734),
    _grading("IDRiD", 0.759, 0.824),
    _grading("DDR", 0.804, 0.752),
    Protocol(
        name="referable-eyepacs-1",
        title="Referable retinopathy on EyePACS-1",
        data="EyePACS-1",
        split="a test set apart from all training photographs",
        num_images=9963,
        definition=f"sensitivity and specificity for referable retinopathy ({_REFERABLE}), by image",
        comparable=_OTHER_SPLIT,
        task="referable",
        subject=FUNDUS,
        lines=(
            _point("Their network, point of high specificity", 0.903, 0.981),
            _point("Their network, point of high sensitivity", 0.975, 0.934),
        ),
    ),
    Protocol(
        name="referable-messidor-2",
        title="Referable retinopathy on Messidor-2",
        data="Messidor-2",
        split="a test set apart from all training photographs",
        num_images=1748,
        definition=f"sensitivity and specificity for referable retinopathy ({_REFERABLE}), by image",
        comparable=_OTHER_SPLIT,
        task="referable",
        subject=FUNDUS,
        lines=(
            _point("Their network, point of high specificity", 0.870, 0.985),
            _point("Their network, point of high sensitivity", 0.961, 0.939),
        ),
    ),
    Protocol(
        name="referable-idx-dr",
        title="IDx-DR in primary care",
        data="900 people enrolled in primary care",
        split="a trial on new patients",
        num_images=0,
        definition="sensitivity and specificity for more than mild retinopathy, by patient",
        comparable="No: by patient and not by image, other cameras, another reference standard.",
        task="referable",
        subject=FUNDUS,
        lines=(
            PublishedResult(
                title="IDx-DR, pivotal trial",
                values={"sensitivity": 0.872, "specificity": 0.907},
                intervals={"sensitivity": (0.818, 0.912), "specificity": (0.883, 0.927)},
                note="Goals set beforehand: 0.85 and 0.825. Of the photographs 96.1 % (94.6 to 97.3) could be read.",
                **_IDX,
            ),
            PublishedResult(
                title="IDx-DR, as on its label",
                values={"sensitivity": 0.874, "specificity": 0.895},
                source="FDA De Novo DEN180001",
                url="https://510k.innolitics.com/search/DEN180001",
                read_in="the summary of the decision",
                year=2018,
            ),
        ),
    ),
    Protocol(
        name="referable-minimum",
        title="What a screening programme asks for at least",
        data="no data: a rule",
        split="none",
        definition="sensitivity and specificity for referable retinopathy",
        comparable="As a mark to reach, not as a result.",
        task="referable",
        subject=FUNDUS,
        lines=(
            PublishedResult(
                title="NHS minimum",
                values={"sensitivity": 0.85, "specificity": 0.80},
                source="as Leibig et al. 2017 give it",
                url="https://www.nature.com/articles/s41598-017-17876-z",
                read_in="the paper",
                year=2017,
            ),
        ),
    ),
    Protocol(
        name="referable-resnet18",
        title="A plain ResNet-18 on public images",
        data="61,007 public photographs",
        split="its own",
        num_images=0,
        definition="area under the ROC curve of referable retinopathy",
        comparable="No: other photographs. The honest line for a small network.",
        task="referable",
        subject=FUNDUS,
        lines=(
            PublishedResult(
                title="ResNet-18",
                values={"auroc": 0.955},
                intervals={"auroc": (0.953, 0.956)},
                source="A ResNet is all you need? (arXiv 2210.03180)",
                url="https://arxiv.org/abs/2210.03180",
                read_in="its abstract",
                year=2022,
            ),
        ),
    ),
    Protocol(
        name="transfusion-full",
        title="Pretrained or from scratch: 250,000 photographs",
        data="about 250,000 fundus photographs",
        split="its own",
        lines=(
            _transfusion("ResNet-50, random weights", 0.964, 0.0005),
            _transfusion("ResNet-50, ImageNet weights", 0.967, 0.0004),
            _transfusion("CBR-LargeT, random weights", 0.962),
            _transfusion("CBR-LargeT, ImageNet weights", 0.962),
        ),
        **_TRANSFUSION_ABOUT,
    ),
    Protocol(
        name="transfusion-5000",
        title="Pretrained or from scratch: 5,000 photographs",
        data="5,000 fundus photographs",
        split="its own",
        lines=(
            _transfusion("ResNet-50, random weights", 0.922),
            _transfusion("ResNet-50, ImageNet weights", 0.946),
            _transfusion("CBR-LargeT, random weights", 0.936),
            _transfusion("CBR-LargeT, ImageNet weights", 0.939),
        ),
        **_TRANSFUSION_ABOUT,
    ),
)
