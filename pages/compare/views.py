"""The views of "Compare runs" below the board, in the order of their tabs: one entry here, one module beside it."""

from pages.common.views import ViewSpec

VIEWS = (
    ViewSpec("verdict", "Verdict", "compare.verdict", "Which is better, by how much, and is it real?"),
    ViewSpec("curves", "Curves", "compare.curves", "How did they learn?"),
    ViewSpec("matrices", "Confusion", "compare.matrices", "Which classes are taken for which?"),
    ViewSpec("classes", "Classes", "compare.classes", "How well is each class told apart?"),
    ViewSpec("wins", "Wins", "compare.wins", "Which of every two is ahead, and is that more than chance?"),
    ViewSpec("roc", "ROC", "compare.roc", "How well do they tell a class from the rest, at every threshold?"),
    ViewSpec("reliability", "Reliability", "compare.reliability", "Do their probabilities come true?"),
    ViewSpec(
        "referable", "Refer", "compare.referable", "From which score on is somebody referred, and what is that worth?"
    ),
    ViewSpec("cost", "Cost", "compare.cost", "What does the better result cost?"),
    ViewSpec("size", "More images", "compare.size", "What would more training images be worth?"),
    ViewSpec(
        "images", "Images", "compare.images", "What does each run say of the same images, and where does it look?"
    ),
    ViewSpec("external", "Other data", "compare.external", "What are they worth on images from elsewhere?"),
    ViewSpec(
        "published",
        "Published",
        "compare.published",
        "What have others reached, and can it be held against these runs?",
    ),
)
