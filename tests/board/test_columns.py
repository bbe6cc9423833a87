"""The columns: one table for page, link and what is taken away."""

from lib.board import read_board
from lib.board.choices import CHOICES_FILE, keep_choice, read_choices
from lib.board.columns import COLUMNS, choosable, default_columns, headings, parse_columns, with_intervals
from lib.evaluation.metric_table import METRICS
from tests.generated_runs import make_generated_runs


def test_every_column_is_in_the_table_and_every_metric_is_a_column():
    make_generated_runs(2, num_test=40)
    table = read_board(at_once_s=0).table
    assert not [key for key in COLUMNS if key not in table]
    assert {f"test_{key}" for key in METRICS} <= {column.key for column in choosable()}
    assert not [column.key for column in choosable() if column.belongs_to]


def test_an_interval_comes_with_its_metric():
    assert with_intervals(["state", "test_auroc"]) == ["state", "test_auroc", "test_auroc_interval"]
    assert parse_columns("test_auroc,unheard,test_auroc,test_auroc_interval,state") == ["test_auroc", "state"]
    assert parse_columns(None) == []
    assert headings(["test_auroc", "test_auroc_interval"])["test_auroc_interval"] == "AUROC, 95 % interval"


def test_what_runs_are_judged_by_comes_first():
    make_generated_runs(3, num_test=40)
    graded = default_columns(read_board(at_once_s=0).table)
    assert graded.index("test_quadratic_weighted_kappa") < graded.index("test_accuracy")
    assert "seeds" in graded
    assert not {"own_name", "labels", "recipe", "dataset_title", "external"} & set(graded)


def test_classes_without_an_order_show_no_kappa():
    make_generated_runs(1, num_classes=3, num_test=30, is_ordinal=False)
    columns = default_columns(read_board(at_once_s=0).table, has_several_datasets=True)
    assert "test_quadratic_weighted_kappa" not in columns
    assert "dataset_title" in columns


def test_choices_are_kept_in_the_home(home, monkeypatch):
    assert read_choices() == {}
    keep_choice("columns", "state,created")
    keep_choice("sort", "-created")
    assert read_choices() == {"columns": "state,created", "sort": "-created"}
    keep_choice("sort", None)
    assert read_choices() == {"columns": "state,created"}
    (home / CHOICES_FILE).write_text("[1, 2")
    assert read_choices() == {}

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("lib.board.choices.write_json", refuse)
    keep_choice("sort", "created")  # says nothing: the link has it
    assert read_choices() == {}
