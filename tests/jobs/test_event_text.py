from lib import jobs, tracking
from lib.jobs.event_text import describe_event
from lib.tracking.state import LOG_FILE
from lib.training.events import EpochEnded, PhaseStarted, Progressed, StepEnded
from tests.jobs.conftest import CONFIG


def test_the_log_shows_only_the_end_of_rewritten_lines():
    run = tracking.create_run(CONFIG)
    assert jobs.tail_log(run.run_id) == ""
    (run.folder / LOG_FILE).write_bytes(b"first\n10%\r50%\r100%\n\nlast \xff\r\n")
    assert jobs.tail_log(run.run_id) == "first\n100%\nlast �"
    assert jobs.tail_log(run.run_id, 1) == "last �"


def test_events_in_words():
    assert describe_event(PhaseStarted("Extracting features")) == "Extracting features ..."
    assert describe_event(Progressed("Training", 5, 10, 12.4, 95)) == "Training 5/10, 12 images/s, 1 min 35 s left"
    assert describe_event(Progressed("Training", 5, 10)) == "Training 5/10"
    assert describe_event(Progressed("Training", 1, 6, unit="fits", num_images=640)) == "Training 1/6 fits"
    epoch = EpochEnded(2, 3, {"train_loss": 0.5, "val_loss": 0.25, "learning_rate": 1.0})
    assert describe_event(epoch) == "epoch 2/3  train_loss 0.5000  val_loss 0.2500"
    assert describe_event(StepEnded(1, 0.5, 0.1)) == ""
