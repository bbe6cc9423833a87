"""The gate: distances by hand, the promised rate of false alarms, odd features, files."""

import math

import numpy as np
import pytest

from lib.errors import UserError
from lib.models.gate import (
    GATE_FILE,
    Gate,
    ReferenceImages,
    energies,
    false_alarm_range,
    fit_gate,
    load_gate,
    save_gate,
)


def is_unlike(gate, features):
    return gate.distance(features) > gate.threshold


def draw(num, centre, *, seed=0, spread=0.3):
    return np.random.default_rng(seed).normal(centre, spread, (num, len(centre))).astype(np.float32)


CENTRE = np.array([1.0, 0.5, 0.0, 0.2, 0.8, 0.0, 0.3, 0.6])


def test_distance_by_hand():
    # Neighbours along x, y and 45 degrees: cosines 1, 0, 0.7071 to a query along x, -1, 0, -0.7071 to one against it.
    reference = np.array([[1, 0], [0, 1], [math.sqrt(0.5), math.sqrt(0.5)]], dtype=np.float16)
    gate = Gate(reference, 0.5, 0.05, 20, num_neighbors=2)
    assert gate.distance(np.array([[7.0, 0.0]])) == pytest.approx([1 - (1 + 0.7071) / 2], abs=1e-3)
    assert gate.distance(np.array([[0.0, 0.0], [-1.0, 0.0]])) == pytest.approx([1.0, 1 + 0.7071 / 2], abs=1e-3)
    assert is_unlike(gate, np.array([[7.0, 0.0], [-1.0, 0.0]])).tolist() == [False, True]


def test_threshold_is_the_conformal_rank_by_hand():
    # One training direction; validation vectors at 1 .. 39 degrees. Rank ceil(40 * 0.95) = 38: 1 - cos(38 degrees).
    angles = np.deg2rad(np.arange(1, 40))
    gate = fit_gate(np.array([[1.0, 0.0]]), np.stack([np.cos(angles), np.sin(angles)], 1))
    assert gate.threshold == pytest.approx(1 - math.cos(math.radians(38)), rel=2e-3)
    assert gate.false_alarm_rate == 0.05


def test_small_validation_sets_take_the_largest_distance_and_state_the_rate():
    val = draw(4, CENTRE, seed=1)
    gate = fit_gate(draw(30, CENTRE), val)
    assert gate.threshold == pytest.approx(gate.distance(val).max(), rel=2e-3, abs=2e-5)
    assert gate.false_alarm_rate == pytest.approx(1 / 5)
    assert gate.num_calibration == 4


@pytest.mark.parametrize("num_val", [20, 99])
def test_false_alarms_stay_near_the_promised_rate(num_val):
    rates = []
    for seed in range(40):
        gate = fit_gate(draw(100, CENTRE, seed=3 * seed), draw(num_val, CENTRE, seed=3 * seed + 1))
        rates.append(is_unlike(gate, draw(200, CENTRE, seed=3 * seed + 2)).mean())
    # The mean over draws is 1 - ceil((n + 1) * 0.95) / (n + 1): 1/21 for 20 images, 1/20 for 99.
    assert np.mean(rates) == pytest.approx(0.05, abs=0.015)


def test_the_range_of_false_alarms_is_that_of_the_beta_distribution():
    # Of 19 images the largest sets the limit: the share beyond is Beta(1, 19), P(share <= x) = 1 - (1 - x) ** 19.
    low, high = false_alarm_range(19)
    assert low == pytest.approx(1 - 0.975 ** (1 / 19))
    assert high == pytest.approx(1 - 0.025 ** (1 / 19))
    rates = []
    for seed in range(300):  # every draw has its own limit; distances stand for images
        values = np.random.default_rng(seed).uniform(size=99)
        rates.append(1 - np.sort(values)[95 - 1])
    low, high = false_alarm_range(99)
    assert np.mean([low <= rate <= high for rate in rates]) == pytest.approx(0.95, abs=0.03)


def test_images_that_are_themselves_in_the_reference_are_compared_with_the_others_by_hand():
    # Directions at 0, 10 and 40 degrees: without itself, each one's mean cosine to the other two.
    angles = np.deg2rad([0, 10, 40])
    vectors, units = np.stack([np.cos(angles), np.sin(angles)], 1), np.arange(3)
    gate = fit_gate(vectors, vectors, train_units=units, val_units=units)
    expected = 1 - (math.cos(math.radians(40)) + math.cos(math.radians(30))) / 2
    assert gate.threshold == pytest.approx(expected, rel=2e-3, abs=1e-4)
    # The two at 0 and 10 degrees as one patient: each is left with the third alone, the third with both.
    together = fit_gate(vectors, vectors, train_units=np.array([0, 0, 1]), val_units=np.array([0, 0, 1]))
    assert together.threshold == pytest.approx(1 - math.cos(math.radians(40)), rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("num", [20, 99])
def test_false_alarms_stay_below_the_promised_rate_without_a_set_apart(num):
    rates = []
    for seed in range(40):
        images, units = draw(num, CENTRE, seed=2 * seed), np.arange(num)
        gate = fit_gate(images, images, train_units=units, val_units=units)
        rates.append(is_unlike(gate, draw(200, CENTRE, seed=2 * seed + 1)).mean())
    assert 0.01 < np.mean(rates) < 0.06


def test_other_directions_are_unlike():
    gate = fit_gate(draw(100, CENTRE), draw(40, CENTRE, seed=1))
    assert is_unlike(gate, draw(50, -CENTRE, seed=2)).all()


@pytest.mark.parametrize("scale", [1e-9, 1e12])
def test_the_scale_of_the_features_does_not_matter(scale):
    plain = fit_gate(draw(50, CENTRE), draw(20, CENTRE, seed=1))
    scaled = fit_gate(draw(50, CENTRE) * scale, draw(20, CENTRE, seed=1) * scale)
    assert np.isfinite(scaled.reference).all()
    assert scaled.threshold == pytest.approx(plain.threshold, rel=1e-3)


def test_collapsed_features_turn_nobody_away():
    same = np.ones((20, 8), dtype=np.float32)
    gate = fit_gate(same, same)
    assert not is_unlike(gate, same * np.linspace(1, 3, 20)[:, None]).any()


def test_broken_features_are_unlike_and_cannot_fit():
    gate = fit_gate(draw(30, CENTRE), draw(20, CENTRE, seed=1))
    query = draw(2, CENTRE, seed=2)
    query[1, 0] = np.nan
    assert np.isinf(gate.distance(query)).tolist() == [False, True]
    assert is_unlike(gate, query)[1]
    with pytest.raises(ValueError, match="diverged"):
        fit_gate(query, draw(20, CENTRE, seed=1))
    with pytest.raises(ValueError, match="training and validation"):
        fit_gate(draw(30, CENTRE), np.empty((0, 8)))
    with pytest.raises(ValueError, match=r"Expected features \(N, 8\)"):
        gate.distance(np.ones((1, 3)))


def test_reference_is_a_seeded_sample_of_at_most_2000_rows():
    train = draw(2300, CENTRE)
    val = draw(20, CENTRE, seed=1)
    gate = fit_gate(train, val)
    assert gate.reference.shape == (2000, 8)
    assert np.array_equal(gate.reference, fit_gate(train, val).reference)
    assert fit_gate(np.ones((700, 30_000), dtype=np.float16), np.ones((2, 30_000))).reference.nbytes <= 32 * 2**20


def test_a_saved_gate_comes_back(tmp_path):
    gate = fit_gate(draw(30, CENTRE), draw(20, CENTRE, seed=1))
    save_gate(tmp_path / GATE_FILE, gate)
    loaded = load_gate(tmp_path / GATE_FILE)
    assert np.array_equal(loaded.reference, gate.reference)
    assert (loaded.threshold, loaded.false_alarm_rate) == (gate.threshold, gate.false_alarm_rate)
    assert (loaded.num_calibration, loaded.num_neighbors) == (20, 5)


def test_damaged_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / GATE_FILE
    for content in (b"", b"no gate at all"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="train the run again"):
            load_gate(path)
    save_file({"reference": np.ones((2, 2), np.float16)}, path)
    with pytest.raises(UserError, match="cannot be read"):
        load_gate(path)
    gate = fit_gate(draw(30, CENTRE), draw(20, CENTRE, seed=1))
    save_gate(path, Gate(gate.reference, math.inf, 0.05, 20))
    with pytest.raises(UserError, match="damaged"):
        load_gate(path)


def joint_gate(seed=0, num_val=40, **options):
    """Two stages and answers; one stage has other centres, so that the two disagree on what is near."""
    random = np.random.default_rng(seed)
    train = {"early": draw(100, CENTRE, seed=3 * seed), "late": draw(100, CENTRE[::-1], seed=3 * seed + 7)}
    val = {"early": draw(num_val, CENTRE, seed=3 * seed + 1), "late": draw(num_val, CENTRE[::-1], seed=3 * seed + 8)}
    answers = random.dirichlet(np.ones(3), num_val)
    return fit_gate(train, val, probabilities=answers, **options)


def is_beyond(gate, readings, answers):
    return np.array([any(value > limit for _, value, limit in one) for one in gate.compare(readings, answers)[0]])


@pytest.mark.parametrize("num_val", [20, 99])
def test_all_comparisons_together_keep_the_promise(num_val):
    rates = []
    for seed in range(40):
        new = {"early": draw(200, CENTRE, seed=900 + seed), "late": draw(200, CENTRE[::-1], seed=950 + seed)}
        answers = np.random.default_rng(990 + seed).dirichlet(np.ones(3), 200)
        rates.append(is_beyond(joint_gate(seed, num_val), new, answers).mean())
    assert np.mean(rates) == pytest.approx(0.05, abs=0.02)


def test_one_stage_beyond_its_limit_is_enough():
    gate = joint_gate()
    usual, other = draw(20, CENTRE, seed=5), -draw(20, CENTRE, seed=6)
    answers = np.full((20, 3), [0.8, 0.1, 0.1])
    assert is_beyond(gate, {"early": other, "late": draw(20, CENTRE[::-1], seed=7)}, answers).all()
    assert is_beyond(gate, {"early": usual, "late": other}, answers).all()


def test_the_energy_is_that_of_centred_logits_by_hand():
    logits = np.array([[2.0, 0.0, -2.0], [0.0, 0.0, 0.0]])  # centred already
    answers = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert energies(answers) == pytest.approx(-np.log(np.exp(logits).sum(1)))
    assert joint_gate().energy.values(np.array([[1.0, 0.0, 0.0]])) == pytest.approx([0.0])


def test_answers_of_one_energy_are_not_compared_by_it():
    features = {"early": draw(30, CENTRE)}
    gate = fit_gate(features, {"early": draw(20, CENTRE, seed=1)}, probabilities=np.full((20, 2), 0.5))
    assert gate.energy is None
    assert len(gate.compare({"early": draw(1, CENTRE)}, np.full((1, 2), 0.5))[0][0]) == 1


def references(num=100):
    names = tuple(f"{number:016x}" for number in range(num))
    return ReferenceImages(names, np.arange(num) % 3, np.arange(num) // 2, ("a", "b", "c"))


def test_the_nearest_images_leave_out_the_image_and_its_patient():
    gate = joint_gate(images=references())
    eleventh = {"early": draw(1, CENTRE), "late": draw(100, CENTRE[::-1], seed=7)[10:11]}  # a training image itself
    _, [similarities] = gate.compare(eleventh, np.full((1, 3), 1 / 3))
    assert gate.nearest(similarities, 1)[0] == (10, pytest.approx(0.0, abs=1e-3))
    hidden = gate.images.is_related(gate.images.image_ids[10])
    assert np.flatnonzero(hidden).tolist() == [10, 11]  # two images a patient
    assert not {10, 11} & {row for row, _ in gate.nearest(similarities, 99, hidden)}
    others = gate.images.is_related("not here", [gate.images.image_ids[20]])
    assert np.flatnonzero(others).tolist() == [20, 21]


def test_a_saved_gate_of_several_stages_comes_back(tmp_path):
    gate = joint_gate(images=references(), judge="own", titles={"early": "Early", "late": "Late"})
    save_gate(tmp_path / GATE_FILE, gate)
    loaded = load_gate(tmp_path / GATE_FILE)
    readings, answers = {"early": draw(3, CENTRE), "late": draw(3, CENTRE)}, np.full((3, 3), [0.7, 0.2, 0.1])
    assert loaded.compare(readings, answers)[0] == gate.compare(readings, answers)[0]
    assert [one.title for one in loaded.stages] == ["Early", "Late"]
    assert (loaded.judge, loaded.energy, loaded.threshold) == ("own", gate.energy, 1.0)
    assert loaded.images.image_ids == gate.images.image_ids
    assert np.array_equal(loaded.images.groups, gate.images.groups)
    save_gate(
        tmp_path / GATE_FILE, joint_gate(images=ReferenceImages(("one",) * 100, np.full(100, 7), np.zeros(100), ("a",)))
    )
    with pytest.raises(UserError, match="damaged"):
        load_gate(tmp_path / GATE_FILE)
