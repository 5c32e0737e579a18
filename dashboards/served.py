"""What Streamlit's server runs: the pages, and beside them the viewer's own routes."""

from pathlib import Path

from streamlit.starlette import App

from dashboards.routes import ROUTES

app = App(Path(__file__).with_name("home.py"), routes=ROUTES)
