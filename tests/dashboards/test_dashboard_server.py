"""How the dashboard is served: on the loopback, telling nobody, and saying so when it cannot be."""

import socket

import pytest

from app.dashboard_server import PortTakenError, require_free, streamlit_arguments


def test_a_taken_port_is_named_with_the_remedy():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} .* cannot be used .*--port"):
            require_free(port)


def test_a_free_port_is_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    require_free(port)


def test_a_number_that_is_no_port_is_refused():
    with pytest.raises(PortTakenError, match="70000"):
        require_free(70000)


def test_streamlit_is_bound_to_the_loopback_and_tells_nobody():
    arguments = streamlit_arguments(8501, open_browser=False)
    assert "--server.address=127.0.0.1" in arguments
    assert "--browser.gatherUsageStats=false" in arguments
    assert "--server.showEmailPrompt=false" in arguments
    assert "--server.headless=true" in arguments
    assert "--server.headless=false" in streamlit_arguments(8501, open_browser=True)


@pytest.mark.parametrize(
    ("address", "opened"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("192.168.1.4", "192.168.1.4"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "[::1]"),
        ("::", "[::1]"),
    ],
)
def test_the_browser_is_opened_where_somebody_listens(address, opened):
    arguments = streamlit_arguments(8501, open_browser=True, address=address)
    assert f"--server.address={address}" in arguments
    assert f"--browser.serverAddress={opened}" in arguments
