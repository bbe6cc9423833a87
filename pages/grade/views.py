"""The views of "Grade images", in the order of their tabs: one entry here, one module beside it."""

from pages.common.views import ViewSpec

VIEWS = (
    ViewSpec("passports", "Passports", "grade.passports"),
    ViewSpec("closer", "Look closer", "grade.closer"),
    ViewSpec("table", "Table", "grade.table"),
    ViewSpec("folder", "Folder", "grade.folder"),
    ViewSpec("patients", "Patients", "grade.patients"),
    ViewSpec("take_away", "Take away", "grade.take_away"),
)
