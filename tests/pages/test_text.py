import pytest

from pages.common.text import count, percent, plain, readable


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("cat", "cat"),
        ("a_b*c", r"a\_b\*c"),
        ("<script>alert(1)</script>", r"\<script\>alert\(1\)\<\/script\>"),
        ("$x^2$", r"\$x\^2\$"),
        ("# title", r"\# title"),
        ("1. x", r"1\. x"),
        ("[a](http://b)", "\\[a\\]\\(http\\:\u2060\\/\\/b\\)"),
        (":material/delete:", "\\:\u2060material\\/delete\\:"),
        (":red[x]", "\\:\u2060red\\[x\\]"),
        ("www.evil.com", "www\u2060\\.evil\\.com"),
        ("me@evil.com", "me\\@\u2060evil\\.com"),
    ],
)
def test_plain_makes_markup_literal(name, escaped):
    assert plain(name) == escaped


def test_control_and_direction_characters_go():
    assert readable("a\nb\t\u202ec\x00") == "a b c"


def test_long_names_are_cut():
    assert len(readable("x" * 1000)) == 160


def test_percent_and_count():
    assert percent(0.983) == "98.3\u00a0%"
    assert percent(float("nan")) == "not defined"
    assert count(1, "image") == "1 image"
    assert count(1200, "class", "classes") == "1,200 classes"
