import os
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


def test_the_hub_is_never_asked_unless_somebody_says_so():
    code = (
        "import lib.settings, huggingface_hub as hub; from huggingface_hub import constants\n"
        "print(constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HUB_DISABLE_UPDATE_CHECK)\n"
        "try:\n    hub.hf_hub_download('timm/resnet18.a1_in1k', 'model.safetensors')\n"
        "except Exception as error:\n    print(type(error).__name__, repr(error.__cause__))\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_HUB_")}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    first, second = child.stdout.splitlines()
    assert first == "True True True"
    assert "OfflineModeIsEnabled" in second  # refused by the library itself, before any look-up
    assert "blocked for tests" not in child.stdout + child.stderr
