import numpy as np
import pytest

from lib.evaluation.resampling import Estimate
from lib.explain.drift import (
    ChannelChange,
    Drift,
    ResetTable,
    StageDrift,
    StageReset,
    channel_changes,
    cka_estimate,
    correlations,
    linear_cka,
)


def noise(num: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num, dim))


def in_feature_space(x: np.ndarray, y: np.ndarray) -> float:
    """The formula as published, with products of features instead of images."""
    num = len(x)
    x, y = x - x.mean(0), y - y.mean(0)

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        rows = ((a**2).sum(1), (b**2).sum(1))
        product = float(((a.T @ b) ** 2).sum()) - num / (num - 2) * float(rows[0] @ rows[1])
        return product + rows[0].sum() * rows[1].sum() / ((num - 1) * (num - 2))

    return hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5


def test_the_same_features_are_exactly_alike_turned_ones_nearly_and_unrelated_ones_not() -> None:
    x = noise(50, 20)
    turn = np.linalg.qr(noise(20, 20, 1))[0]
    assert cka_estimate(x, x) == Estimate(1.0, 1.0, 1.0, 0.0)
    assert linear_cka(x, 3 * x @ turn + 5) == pytest.approx(1, abs=1e-12)
    # Many more features than images: the plain form would say 0.8 here, though the two have nothing in common.
    assert abs(linear_cka(noise(60, 400, 2), noise(60, 400, 3))) < 0.05
    assert linear_cka(x, np.ones((50, 3))) != linear_cka(x, np.ones((50, 3)))  # NaN: constant features say nothing


def test_a_value_worked_out_by_hand() -> None:
    # Centred x = (-3, -1, 1, 3)/2, y = (-1, 3, -3, 1)/2: squares sum to 5 and 5, x.y = (3 - 3 - 3 + 3)/4 = 0, so that
    # HSIC(x, y) = 0 - 2 (9 + 9 + 9 + 9)/16 + 25/6 = -1/3, HSIC(x, x) = 25 - 2 (81 + 1 + 1 + 81)/16 + 25/6 = 26/3.
    x, y = np.array([[0.0], [1], [2], [3]]), np.array([[0.0], [2], [-1], [1]])
    assert linear_cka(x, y) == pytest.approx((-1 / 3) / (26 / 3))


@pytest.mark.parametrize(("first", "second"), [(5, 5), (8, 90), (90, 30)])
def test_products_of_images_give_the_feature_space_form(first: int, second: int) -> None:
    x = noise(40, first)
    y = x @ noise(first, second, 1) + 2 * noise(40, second, 2)
    assert linear_cka(x, y) == pytest.approx(in_feature_space(x, y), abs=1e-12)
    assert linear_cka(1e200 * x, y) == pytest.approx(linear_cka(x, y))  # huge outputs do not overflow


@pytest.mark.slow
def test_the_interval_holds_the_value_of_more_images_and_widens_with_groups() -> None:
    mix = noise(12, 12, 9)

    def pair(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        x = noise(num, 12, seed)
        return x, x @ mix + 4 * noise(num, 12, seed + 1)

    truth = linear_cka(*pair(4000, 100))
    found = [cka_estimate(*pair(120, seed)) for seed in range(0, 40, 2)]
    assert sum(one.low <= truth <= one.high for one in found) >= 17  # 95 % of 20 is 19
    assert np.mean([one.high - one.low for one in found]) < 0.4
    x, y = (np.repeat(side, 4, axis=0) for side in pair(30, 7))  # four photographs of each patient
    groups = np.repeat([f"p{number}" for number in range(30)], 4)
    apart, together = cka_estimate(x, y), cka_estimate(x, y, groups)
    assert together.high - together.low > 1.3 * (apart.high - apart.low)
    assert cka_estimate(x, y, groups) == together  # seeded
    few = cka_estimate(x[:12], y[:12], groups[:12])  # three patients have no halves
    assert np.isfinite(few.value)
    assert np.isnan(few.low)


def test_channels_are_compared_by_the_order_of_their_answers() -> None:
    before = np.array([[1.0, 0, 5, 1], [2, 0, 5, 2], [3, 1, 5, 3], [4, 1, 5, 4]])
    after = np.array([[10.0, 1, 7, 1], [20, 1, 7, 2], [30, 0, 8, 3], [40, 0, 9, 4]])
    # Alike up to scale, turned round, silent before, and the very same.
    assert correlations(before, after)[[0, 1, 3]] == pytest.approx([1, -1, 1])
    assert np.isnan(correlations(before, after)[2])
    assert correlations(before, before)[0] == 1.0
    first, *_ = channel_changes(before, after, ["a", "b", "c", "d"])
    assert (first.channel, first.correlation) == (1, pytest.approx(-1))
    assert (first.mean_before, first.mean_after) == (0.5, 0.5)
    assert (first.before, first.after) == (("c", "d", "a", "b"), ("a", "b", "c", "d"))
    assert channel_changes(before, before, ["a", "b", "c", "d"]) == ()


def make_row(stage: str, *, cka: Estimate | None = None, weights: float = 0.1, gained: Estimate | None = None,
             **changes: object) -> StageDrift:  # fmt: skip
    scores = {"probe_before": Estimate(0.5, 0.4, 0.6, 0.05), "probe_after": Estimate(0.6, 0.5, 0.7, 0.05)}
    values = {
        "stage": stage, "title": stage.title(), "is_trained": weights > 0, "num_parameters": 10, "weights": weights,
        "normalization": 0.0, "statistics": float("nan"), "total": weights, "cka": cka or Estimate(0.9, 0.8, 1.0, 0.05),
        "median_correlation": 0.9, "num_alike": 3, "num_channels": 4,
        "channels": (ChannelChange(1, -0.5, 0.1, 0.2, ("a",), ("b",)),),
        **(scores if gained is not None else {}), "gained": gained,
    }  # fmt: skip
    return StageDrift(**{**values, **changes})


def make_drift(*rows: StageDrift, **changes: object) -> Drift:
    values = {
        "run_id": "0123456789", "run_label": "Fine-tuned", "strategy": "full_finetuning", "backbone": "b",
        "backbone_title": "Net", "start": "pretrained on ImageNet", "dataset": "d", "dataset_title": "D",
        "dataset_version": "v", "is_medical": False, "metric": "accuracy", "num_images": 50, "num_units": 25,
        "is_held_out": True, "rows": rows, "num_fitted": 100,
    }  # fmt: skip
    return Drift(**{**values, **changes})


def make_reset(*stages: str, cost: tuple[float, float, float], p_value: float = 0.001, **changes: object) -> StageReset:
    values = {"stages": stages, "score": Estimate(0.5, 0.4, 0.6), "accuracy": 0.5, "cost": Estimate(*cost),
              "p_value": p_value, "num_changed": 9}  # fmt: skip
    return StageReset(**{**values, **changes})


def make_resets(*rows: StageReset, titles: tuple[str, ...] = ("stem", "low", "high"), **changes: object) -> ResetTable:
    values = {
        "run_id": "0123456789", "run_label": "Fine-tuned", "metric": "quadratic_weighted_kappa", "num_images": 50,
        "num_units": 25, "score": Estimate(0.7, 0.6, 0.8), "accuracy": 0.6,
        "titles": {name: name.title() for name in titles}, "rows": rows,
    }  # fmt: skip
    return ResetTable(**{**values, **changes})


def test_tables_go_through_json_and_back() -> None:
    drift = make_drift(make_row("stem", gained=Estimate(0.1, 0.0, 0.2, 0.05)), make_row("low", weights=0.0))
    copy = Drift.from_dict(drift.to_dict())
    assert copy.to_dict() == drift.to_dict()
    assert copy.rows[0].channels == drift.rows[0].channels
    assert np.isnan(copy.rows[0].statistics)
    assert copy.rows[1].probe_before is None
    table = make_resets(make_reset("low", cost=(0.1, 0.05, 0.2)), make_reset("stem", "low", cost=(float("nan"),) * 3))
    again = ResetTable.from_dict(table.to_dict())
    assert again.to_dict() == table.to_dict()
    assert again.find(["stem", "low"]).stages == ("stem", "low")
    assert again.find(["high"]) is None
    for kind in (Drift, ResetTable):
        with pytest.raises(ValueError, match="format 99"):
            kind.from_dict({**drift.to_dict(), "format_version": 99})
