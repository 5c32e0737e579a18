"""Long lists page by page."""

import math

import streamlit as st


def page_of(total: int, size: int, key: str) -> int:
    """Which page of a list of `total` rows is looked at, counted from 1; the control stands where this is called."""
    pages = math.ceil(total / size)
    return st.pagination(pages, key=key) if pages > 1 else 1
