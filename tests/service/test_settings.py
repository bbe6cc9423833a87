"""Tokens that cannot be guessed or sent are refused."""

import pytest

from lib.errors import UserError
from lib.service.settings import ServiceSettings, new_token


@pytest.mark.parametrize(
    "token", ["", "short", "with a blank in between", "Schl\u00fcssel-mit-Umlaut", "line\nbreak-long-enough"]
)
def test_a_weak_token_is_refused(token):
    with pytest.raises(UserError, match="A token has at least 16"):
        ServiceSettings(token=token)


def test_a_made_token_is_good_and_new():
    assert ServiceSettings(token=new_token()).token != new_token()
