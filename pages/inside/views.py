"""The views of "Look inside", in the order of their tabs: a new view is one entry here and one module beside it."""

from pages.common.views import ViewSpec

VIEWS = (
    ViewSpec(
        "worth", "Stage worth", "inside.worth", "Which stage is worth most for your images, and what of it is borrowed?"
    ),
    ViewSpec(
        "networks",
        "Networks",
        "inside.networks",
        "What did training change: one image through several networks, stage by stage?",
    ),
    ViewSpec(
        "stages",
        "Stages",
        "inside.stages",
        "What does the network see in one image, from generic edges to the parts of a class?",
        with_target=True,
    ),
    ViewSpec(
        "moved", "Moved", "inside.moved", "What did fine-tuning change in the network, where, and what is it worth?"
    ),
    ViewSpec(
        "attribution",
        "Maps",
        "inside.attribution",
        "Which places speak for the answer, and do other methods say the same?",
    ),
    ViewSpec(
        "honest", "Honest card", "inside.honest", "May this map be believed: what do controls and random weights show?"
    ),
    ViewSpec("channels", "Channels", "inside.channels", "Which channels of a stage answer to this image, and where?"),
    ViewSpec("units", "Units", "inside.units", "What does one channel answer to, over all images?"),
    ViewSpec(
        "architecture",
        "Surgery",
        "inside.architecture",
        "What does a transfer keep of the network, cut off, and train?",
    ),
    ViewSpec(
        "beginning",
        "Beginning",
        "inside.beginning",
        "What does a filter do, and what was there before networks learned them?",
    ),
)
