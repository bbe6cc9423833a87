from lib.sweeps.results import CURVE_FILE, CurveWriter, read_curve
from lib.training.events import EpochEnded, NetworkBuilt, PhaseStarted


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def test_seconds_go_on_after_an_interruption_and_a_repeated_epoch_counts_once(tmp_path):
    clock = Clock()
    write = CurveWriter(tmp_path, clock=clock)
    write(PhaseStarted("Training"))
    write(NetworkBuilt(5, 9))
    for epoch in (1, 2):
        clock.now_s += 10
        write(EpochEnded(epoch, 3, {"val_accuracy": 0.1 * epoch}))
    clock.now_s += 1000  # stopped for a while; the checkpoint was after epoch 1
    write = CurveWriter(tmp_path, clock=clock)
    write(NetworkBuilt(5, 9))
    for epoch in (2, 3):
        clock.now_s += 10
        write(EpochEnded(epoch, 3, {"val_accuracy": 0.1 * epoch}))
    curve = read_curve(tmp_path)
    assert (curve.num_trained, curve.num_parameters) == (5, 9)
    assert [(point.epoch, point.seconds) for point in curve.points] == [(1, 10), (2, 30), (3, 40)]


def test_a_line_cut_off_by_a_crash_is_passed_over(tmp_path):
    assert read_curve(tmp_path).points == ()
    CurveWriter(tmp_path)(EpochEnded(1, 2, {"val_loss": 1.0}))
    with (tmp_path / CURVE_FILE).open("a") as opened:
        opened.write('{"epoch": 2, "sec')
    assert [point.epoch for point in read_curve(tmp_path).points] == [1]
