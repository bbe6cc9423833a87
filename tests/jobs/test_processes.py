import os

import psutil

from lib.jobs import processes

HOUR_S = 3600.0


def test_a_reused_pid_is_not_the_worker():
    assert processes.is_alive(os.getpid(), processes.start_time_s(os.getpid()))
    assert not processes.is_alive(os.getpid(), processes.start_time_s(os.getpid()) - 100)
    assert not processes.is_alive(None, None)


def test_a_clock_that_is_set_makes_no_process_another(monkeypatch):
    me = (os.getpid(), processes.start_time_s(os.getpid()))
    since_1970_s = psutil.Process().create_time()  # as runs of older versions have it
    assert processes.is_alive(os.getpid(), since_1970_s)
    assert not processes.is_alive(os.getpid(), since_1970_s - 100)
    boot_time = psutil._psplatform.boot_time
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot_time() + HOUR_S)
    assert processes.is_alive(*me)
    assert not processes.is_alive(os.getpid(), me[1] - 1)  # a pid that is used again
