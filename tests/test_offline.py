import socket
import subprocess
import sys

import pytest


def test_connection_to_another_machine_is_refused():
    with pytest.raises(OSError, match="blocked for tests"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(OSError, match="blocked for tests"):
        socket.create_connection(("example.org", 80), timeout=1)


def test_child_process_is_offline_too():
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode != 0
    assert "blocked for tests" in child.stderr


def test_loopback_is_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()
