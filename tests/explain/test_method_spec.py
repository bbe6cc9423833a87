import pytest

from lib.errors import UserError
from lib.explain.method_spec import MethodSpec, Option, read_options

STEPS = Option("num_steps", "Steps", 50, minimum=2, maximum=500)
NOISE = Option("noise", "Noise", 0.15, minimum=0.0, maximum=1.0)
KIND = Option("kind", "Kind", "mean", choices=("mean", "black"))
METHOD = MethodSpec(
    name="x", title="X", summary="", reference="A. 2020 (arXiv:2001.00001)", explain=len, options=(STEPS, NOISE, KIND)
)  # fmt: skip


@pytest.mark.parametrize(
    ("option", "given", "read"),
    [(STEPS, "20", 20), (STEPS, 20.0, 20), (NOISE, "1", 1.0), (NOISE, 0, 0.0), (KIND, "black", "black")],
)
def test_values_come_in_the_type_of_the_default(option: Option, given: object, read: object):
    found = option.read(given)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("option", "given", "said"),
    [
        (STEPS, "1", "num_steps is from 2 to 500, received '1'"),
        (STEPS, "2.5", "received '2.5'"),
        (STEPS, "many", "received 'many'"),
        (STEPS, True, "received True"),
        (NOISE, "nan", "noise is from 0 to 1, received 'nan'"),
        (STEPS, "inf", "received 'inf'"),
        (KIND, "red", "kind is one of mean, black, received 'red'"),
    ],
)
def test_values_that_are_none(option: Option, given: object, said: str):
    with pytest.raises(UserError, match=said):
        option.read(given)


def test_options_are_completed():
    assert METHOD.complete() == {"num_steps": 50, "noise": 0.15, "kind": "mean"}
    assert METHOD.complete({"noise": "0.5"}) == {"num_steps": 50, "noise": 0.5, "kind": "mean"}
    with pytest.raises(UserError, match="X has no option 'steps'; it knows: num_steps, noise, kind"):
        METHOD.complete({"steps": 3})


def test_settings_are_pairs():
    assert read_options(["a=1", " b = x=y "]) == {"a": "1", "b": "x=y"}
    with pytest.raises(UserError, match="--set NAME=VALUE, received 'a'"):
        read_options(["a"])


def test_where_the_paper_is():
    assert METHOD.reference_url == "https://arxiv.org/abs/2001.00001"
    assert METHOD.is_at_stage
