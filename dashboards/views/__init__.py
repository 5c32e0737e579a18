"""One script per page; `dashboards/home.py` names them to Streamlit."""
