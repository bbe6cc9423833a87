"""The default story: the generated data set and one finished run for each way between "frozen" and "from scratch"."""

from lib.demo.control import start, stop
from lib.demo.state import demo_run_ids, read_demo
from lib.demo.story import STORY, DemoRun

__all__ = ["STORY", "DemoRun", "demo_run_ids", "read_demo", "start", "stop"]
