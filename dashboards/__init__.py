"""The Streamlit dashboard: every page asks one question of the catalog and shows the answer."""
