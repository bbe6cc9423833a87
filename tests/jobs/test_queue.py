import subprocess

import pytest

from lib import jobs
from lib.errors import UserError
from lib.jobs import queue
from tests.jobs.conftest import queued_run


def test_a_run_has_one_ticket():
    run = queued_run()
    with pytest.raises(UserError, match="running or queued already"):
        queue.enqueue(run.run_id)
    assert queue.is_first(run.run_id)
    queue.release(run.run_id)
    queue.release(run.run_id)
    assert queue.tickets() == []


def test_a_ticket_whose_folder_is_gone_does_not_block_the_queue():
    gone = subprocess.Popen(["true"])
    queue.enqueue("vanished")
    queue.claim("vanished", gone.pid)
    gone.wait()
    assert jobs.active_runs() == []
    assert queue.tickets() == []
