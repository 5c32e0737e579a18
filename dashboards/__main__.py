"""Streamlit's own command line, in a process that has loaded what the pages need: the first visitor does not wait."""

from contextlib import suppress

from click import Abort
from streamlit.web.cli import main

from dashboards import figures
from dashboards.components import case_facts, case_viewer, score_table

LOADED = (case_facts, case_viewer, score_table)

if __name__ == "__main__":
    # Plotly fills its tables of defaults with the first figure.
    figures.labels_per_case_figure({1: 1}, {1: 1})
    # Ctrl-C is how it is ended, no failure.
    with suppress(KeyboardInterrupt, Abort):
        main(prog_name="streamlit", standalone_mode=False)
