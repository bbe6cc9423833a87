"""Every page test begins with empty caches: they belong to the process, and each test has a library of its own."""

from collections.abc import Iterator

import pytest
import streamlit as st

from pages.common import background


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    yield
    st.cache_data.clear()
    st.cache_resource.clear()
    background._tasks.clear()
