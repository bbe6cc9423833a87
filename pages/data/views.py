"""The views of "Explore data", in the order of their tabs: one entry here, one module beside it."""

from pages.common.views import ViewSpec

LABEL = "label"  # of sets that came without labels alone, which open with it
VIEWS = (
    ViewSpec("overview", "Overview", "data.overview"),
    ViewSpec("images", "Images", "data.images"),
    ViewSpec("measures", "Measures", "data.measures"),
    ViewSpec("means", "Means", "data.means"),
    ViewSpec("audit", "Audit", "data.audit"),
    ViewSpec("map", "Map", "data.image_map"),
    ViewSpec("gap", "Domain gap", "data.gap"),
    ViewSpec(LABEL, "Label", "data.label"),
    ViewSpec("splits", "Split", "data.splits"),
    ViewSpec("edits", "Edits", "data.edits"),
    ViewSpec("origin", "Origin", "data.origin"),
    ViewSpec("storage", "Storage", "data.storage"),
)
