"""An entry of each table as a newcomer would add it: a backbone, a strategy, a recipe, a way to explain, a source."""

import numpy as np
from PIL import Image
from torch import Tensor, nn

from lib.data.sources.folder import scan_folder
from lib.data.sources.table import FoundImages, SourceOption, SourceRequest, SourceSpec
from lib.explain.method_spec import MethodSpec, Option, needs_map
from lib.models.backbone_spec import BackboneSpec, StageSpec
from lib.recipes.spec import Published, RecipeSpec
from lib.recipes.table import RECIPES
from lib.training.strategies import StrategySpec


class ToyNetwork(nn.Module):
    """A convolution, its mean over the image, and classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classes = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.average(self.low(x)).flatten(1))


BACKBONE = BackboneSpec(
    name="toy_net",
    title="Toy network",
    network="tests.toy:ToyNetwork",
    paper_url="https://example.org/toy",
    stages=(
        StageSpec("low", "First convolution", "map", 4, 112),
        StageSpec("pool", "Average over the image", "vector", 4, 0, ("average", "flatten")),
        StageSpec("logits", "Classes", "vector", 3, 15, "classes"),
    ),
    feature_stage="low",
    cam_stage="low",
    unfreeze_from="low",
    pretrained_on="no images",
    input_size_px=32,
)
STRATEGY = StrategySpec(
    name="toy_probe",
    title="Toy probe",
    summary="Logistic regression again, under another name.",
    family="frozen",
    is_iterative=False,
    fit="lib.training.sklearn_heads:fit_linear_probe",
)
RECIPE = RecipeSpec(
    name="toy-recipe",
    title="Toy recipe",
    study=RECIPES.get("vgg16-dogscats").study,
    subject=RECIPES.get("vgg16-dogscats").subject,
    protocol="Nothing was published.",
    settings={"backbone": "toy_net", "strategy": "toy_probe"},
    published=Published(accuracy=0.5, measured_on="two images"),
)


def toy_cam(question):
    """Where the stage answers at all, raised to a power."""
    return question.activation.float().abs().mean(dim=1) ** question.options["power"]


METHOD = MethodSpec(
    name="toy_cam",
    title="Toy map",
    summary="Where the stage answers at all.",
    reference="Nobody 2026 (arXiv:0000.00000)",
    explain=toy_cam,
    misfit=needs_map,
    options=(Option("power", "Power of the toy", 1, "Makes strong places stronger.", 1, 3),),
    ignores_target=True,
)


def read_stripes(request: SourceRequest) -> FoundImages:
    """Noise that is darkened in stripes across or along, drawn once into the data set's own folder."""

    def draw(folder):
        for number in range(2 * request.values["per_class"]):
            pixels = np.random.default_rng(number).integers(100, 256, (32, 32, 3), dtype=np.uint8)
            name, stripes = ("across", pixels[::4]) if number % 2 else ("along", pixels[:, ::4])
            stripes //= 4
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
            request.progress(number + 1, 2 * request.values["per_class"], "drawing")

    scan = scan_folder(request.filled_folder(draw), min_classes=request.min_classes)
    return FoundImages(scan=scan, name="stripes", spec_changes={"title": "Stripes", "licence": "CC0 1.0"})


SOURCE = SourceSpec(
    name="toy_stripes",
    title="Toy stripes",
    summary="Noise in stripes across and along.",
    read=read_stripes,
    options=(SourceOption(name="per_class", title="Images a class", kind=int, default=6),),
)
