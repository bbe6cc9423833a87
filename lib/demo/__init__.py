"""The default story: a generated data set and one finished run for each way between "frozen" and "from scratch".

It ships recorded and is installed on a first visit; the same runs can be trained here, and the recording made anew.
"""

from lib.demo.installation import install, installed_recording, is_due, missing_runs
from lib.demo.recording import Recording
from lib.demo.story import DEMO, STORY, demo_run_ids

__all__ = ["DEMO", "STORY", "Recording", "demo_run_ids", "install", "installed_recording", "is_due", "missing_runs"]
