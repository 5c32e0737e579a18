"""The dashboard's entry: names the pages, opens the workspace, tells problems. Started by app.dashboard_server."""

from pathlib import Path

import streamlit as st

from dashboards import access
from dashboards.components.markup import style_sheet
from dashboards.session import problems_told

# A file of ours: the browser would fetch a Material icon or an emoji for its tab from the network.
PICTURES = Path(__file__).parent / "components"

st.set_page_config(page_title="maskledger", page_icon=str(PICTURES / "icon.svg"), layout="wide")
st.logo(str(PICTURES / "logo.svg"), size="large")
# Not in a folder called `pages`: Streamlit takes that for its old kind of app until this script has run once,
# and a link straight to a case would show the page without its frame.
page = st.navigation(
    [
        st.Page("views/overview.py", title="Overview", icon=":material/dashboard:", default=True),
        st.Page("views/query.py", title="Query", icon=":material/search:", url_path="query"),
        st.Page("views/case.py", title="Case", icon=":material/radiology:", url_path="case"),
        st.Page("views/worklist.py", title="Worklist", icon=":material/checklist:", url_path="worklist"),
        st.Page("views/runs.py", title="Runs", icon=":material/monitoring:", url_path="runs"),
        st.Page("views/models.py", title="Models", icon=":material/neurology:", url_path="models"),
        st.Page("views/datasets.py", title="Datasets", icon=":material/inventory_2:", url_path="datasets"),
        st.Page("views/sources.py", title="Sources", icon=":material/library_books:", url_path="sources"),
    ],
    position="top",
)
style_sheet()
body, foot = st.container(), st.container()
with body, problems_told():
    if access.entrance():
        # Before the page, which may stop where it stands.
        with foot:
            access.footer()
        page.run()
