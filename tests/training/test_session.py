from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.data.augmentation import drawn_views, turned, view_parameters
from lib.errors import Stopped, UserError
from lib.models.backbones import BACKBONES
from lib.models.bundles import load_bundle, save_bundle
from lib.models.weights import weights_digest
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.events import NetworkBuilt, Progressed, StepEnded
from lib.training.inputs import BatchTransform, CachedInputs, ImageInputs, run_stages
from lib.training.network import Compute
from lib.training.preparation import development_apart
from lib.training.resolution import resolve_config
from lib.training.session import TrainingSession
from lib.training.sklearn_heads import fit_linear_probe
from lib.training.strategies import STRATEGIES
from tests.features.tiny_dataset import TinyDataset


def make_session(strategy: str, dataset: TinyDataset | None = None, **changes: object) -> TrainingSession:
    dataset, compute = dataset or TinyDataset(), Compute(engine=str(changes.get("engine", "torch")))
    settings: dict = {"epochs": 2, "batch_size": 8, "input_size_px": 32, "weights": "random"}
    should_stop = changes.pop("should_stop", lambda: False)
    listener = changes.pop("listener", lambda event: None)
    settings |= {"backbone": "mobilenet_v3_small", **changes}
    config = TrainConfig(dataset="tiny", strategy=strategy, **settings)
    return TrainingSession(
        resolve_config(config, dataset), dataset, compute, listener=listener, should_stop=should_stop
    )


def state_of(classifier: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in classifier.state_dict().items()}


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(name, marks=pytest.mark.slow if STRATEGIES.get(name).is_for_fundus else ())
        for name in STRATEGIES.names
    ],
)
def test_every_strategy_fits_predicts_and_repeats(strategy: str) -> None:
    session = make_session(strategy)
    split = session.dataset.split(0)
    fitted = session.fit(split)
    rows = np.flatnonzero(split == "test")
    probabilities = session.probabilities(fitted, rows)
    assert probabilities.shape == (len(rows), 2)
    assert probabilities.sum(1) == pytest.approx(1.0)
    assert session.features(fitted, rows).shape == (len(rows), fitted.classifier.spec.feature_dim)
    spec = STRATEGIES.get(strategy)
    assert len(fitted.history) == (2 if spec.is_iterative else 0)
    assert isinstance(fitted.inputs, ImageInputs if spec.trains_backbone == "all" else CachedInputs)
    again = make_session(strategy).fit(split)
    assert np.array_equal(make_session(strategy).probabilities(again, rows), probabilities)


@pytest.mark.parametrize("strategy", ["nearest_neighbors", "linear_probe", "linear_svm", "feature_extraction"])
def test_frozen_strategies_leave_the_backbone_untouched(strategy: str) -> None:
    session = make_session(strategy)
    before = state_of(session.new_classifier().stages)
    after = state_of(session.fit(session.dataset.split(0)).classifier.stages)
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("strategy", ["linear_probe", "linear_svm", "nearest_neighbors"])
def test_a_head_on_published_features_is_fitted_and_kept_without_the_network(tmp_path, monkeypatch, strategy) -> None:
    built, saved = [], []
    options = {"backbone": "bundled_vgg", "weights": "pretrained", "input_size_px": 32}
    for is_alone in (False, True):
        told: list = []
        session = make_session(strategy, listener=told.append, **options)
        if is_alone:
            monkeypatch.setattr("lib.training.session.untrained_classifier", lambda *_, **__: pytest.fail("built"))
        else:
            session.on_epoch = lambda classifier, _: None  # somebody looks at images
        split = session.dataset.split(0)
        fitted = session.fit(split)
        assert fitted.classifier.is_head_alone == is_alone
        built += [event for event in told if isinstance(event, NetworkBuilt)]
        rows = np.arange(24)
        folder = tmp_path / str(is_alone)
        digest = weights_digest("bundled_vgg", "pretrained")
        save_bundle(folder, fitted.classifier, {}, base_digest=digest)
        loaded = load_bundle(folder).classifier
        saved.append((loaded.state_dict(), session.probabilities(fitted, rows), session.features(fitted, rows)))
    assert built[0] == built[1]
    assert all(torch.equal(saved[0][0][key], tensor) for key, tensor in saved[1][0].items())
    assert saved[0][0].keys() == saved[1][0].keys()
    assert all(np.array_equal(one, other) for one, other in zip(saved[0][1:], saved[1][1:], strict=True))
    with pytest.raises(RuntimeError, match="its stages are not built"):
        fitted.classifier(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UserError, match="weights of Bundled VGG were taken away during the training"):
        save_bundle(tmp_path / "other", fitted.classifier, {}, base_digest="0" * 64)


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param("feature_extraction", marks=pytest.mark.slow),  # as test_resume.py, where more is killed
        pytest.param("partial_finetuning", marks=pytest.mark.slow),
        "gradual_unfreezing",
        "probe_then_finetune",
    ],
)
def test_stopped_and_resumed_in_a_new_session_equals_unbroken(tmp_path, strategy: str) -> None:
    split = TinyDataset().split(0)
    expected = make_session(strategy).fit(split)
    steps: list[object] = []

    def count(event: object) -> None:
        if isinstance(event, Progressed) and event.phase == "Training":
            steps.append(event)

    stopped = make_session(strategy, listener=count, should_stop=lambda: len(steps) >= 2)
    with pytest.raises(Stopped):
        stopped.fit(split, CheckpointStore(tmp_path))
    resumed = make_session(strategy).fit(split, CheckpointStore(tmp_path))
    first, second = state_of(expected.classifier), state_of(resumed.classifier)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "strategy",
    ["linear_probe", "linear_svm", "nearest_neighbors", pytest.param("handcrafted_features", marks=pytest.mark.slow)],
)
def test_a_fitted_head_learns_from_training_and_validation_and_answers_both_out_of_fold(strategy: str) -> None:
    dataset = TinyDataset()  # of noise: only a head that knows an image answers it right
    dataset.pixels = np.random.default_rng(1).integers(0, 256, dataset.pixels.shape).astype(np.uint8)
    session = make_session(strategy, dataset)
    split = session.dataset.split(0)
    shown: list[torch.Tensor] = []
    session.on_epoch = lambda classifier, _: shown.append(classifier.head.state_dict())
    fitted = session.fit(split)
    rows = np.flatnonzero(split != "test")
    assert np.array_equal(fitted.fit_rows, rows)
    validation = session.validation(fitted)
    assert (validation.part, validation.rows.tolist()) == ("out_of_fold", rows.tolist())
    assert validation.probabilities.sum(1) == pytest.approx(1.0)
    own = session.probabilities(fitted, rows)
    assert not np.allclose(validation.probabilities, own)  # the kept head knows these images
    # What is pinned may be a validation image: it is shown by a head of the training images alone.
    kept = fitted.classifier.head.state_dict()
    assert len(shown) == 1
    assert any(shown[0][key].shape != kept[key].shape or not torch.equal(shown[0][key], kept[key]) for key in kept)
    if strategy == "nearest_neighbors":
        assert (len(kept["features"]), len(shown[0]["features"])) == (len(rows), (split == "train").sum())


def test_an_iterated_head_keeps_validation_apart() -> None:
    session = make_session("feature_extraction")
    split = session.dataset.split(0)
    fitted = session.fit(split)
    assert np.array_equal(fitted.fit_rows, np.flatnonzero(split == "train"))
    validation = session.validation(fitted)
    assert (validation.part, validation.rows.tolist()) == ("val", np.flatnonzero(split == "val").tolist())
    assert np.array_equal(validation.probabilities, session.probabilities(fitted, validation.rows))


def test_classes_drawn_equally_often_are_weighed_where_nothing_is_drawn() -> None:
    drawn = {"sampling": "balanced"}
    assert make_session("linear_probe", **drawn).config.class_weights == "balanced"
    assert make_session("linear_probe", **drawn).config.sampling == "natural"
    assert make_session("feature_extraction", **drawn).config.class_weights == "auto"


@pytest.mark.parametrize("strategy", ["linear_probe", "full_finetuning"])
def test_stop_before_training_is_heard(strategy: str) -> None:
    with pytest.raises(Stopped):
        make_session(strategy, should_stop=lambda: True).fit(TinyDataset().split(0))


@pytest.mark.parametrize("strategy", ["linear_probe", "feature_extraction"])
def test_imbalance_is_weighed(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TinyDataset(counts=(30, 5))
    session = make_session(strategy, dataset)
    assert session.config.class_weights == "auto"
    plain = make_session(strategy, TinyDataset(counts=(30, 5)), class_weights="none")
    split, rows = dataset.split(0), np.arange(35)
    weighted = session.probabilities(session.fit(split), rows)[:, 1].mean()
    assert weighted > plain.probabilities(plain.fit(split), rows)[:, 1].mean()


def test_fine_tuning_with_an_mlp_head() -> None:
    session = make_session("full_finetuning", head="mlp", epochs=1)
    fitted = session.fit(session.dataset.split(0))
    assert fitted.classifier.head_options["name"] == "mlp"


def test_features_keep_their_format_apart_from_training() -> None:
    session = make_session("linear_probe")
    session.compute = replace(session.compute, dtype="bfloat16")
    assert session.used_dtype == "bfloat16"
    assert make_session("full_finetuning").used_dtype == "float32"


def test_network_cut_at_its_last_vector_learns_only_a_new_sigmoid_unit() -> None:
    session = make_session("feature_extraction", head="linear", feature_stage="last_vector", output="sigmoid")
    assert (session.config.feature_stage, session.config.pooling) == ("fc1", "none")
    before = state_of(session.new_classifier().stages)
    fitted = session.fit(session.dataset.split(0))
    after = state_of(fitted.classifier.stages)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [parameter.shape for parameter in fitted.classifier.head.parameters()] == [
        (1, BACKBONES.get("mobilenet_v3_small").stage("fc1").num_channels),
        (1,),
    ]
    assert session.probabilities(fitted, np.arange(5)).sum(1) == pytest.approx(1.0)


def test_fine_tuning_starts_where_the_cached_probe_ended() -> None:
    steps: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, StepEnded):
            steps.append(event.loss)

    split = TinyDataset().split(0)
    frozen = {"augmentation": "none", "batch_size": 64, "seed": 5}
    probe_session = make_session("linear_probe", seed=5)
    probe = probe_session.fit(split)
    rows = np.flatnonzero(split == "train")
    # The start of fine-tuning is a probe of the training images alone, since it validates beside them.
    table, features = probe_session.dataset.table, probe_session.preparation.plain_features(probe.classifier)
    apart = development_apart(probe_session.targets, table, split, probe_session.config)
    start = fit_linear_probe(features, probe_session.targets, development=apart, num_classes=2)
    with torch.no_grad():
        found = start.head(torch.from_numpy(features[rows])).softmax(1).numpy()
    expected = -np.log(found[np.arange(len(rows)), probe_session.targets[rows]]).mean()
    for output in ("softmax", "sigmoid"):
        steps.clear()
        session = make_session("probe_then_finetune", listener=listen, epochs=1, output=output, **frozen)
        fitted = session.fit(split)
        # Dropout aside (this network has none before the head), the first step sees the probe's own loss.
        assert steps[0] == pytest.approx(expected, rel=1e-3)
        before = state_of(probe.classifier.stages)
        assert any(not torch.equal(before[key], value) for key, value in state_of(fitted.classifier.stages).items())


def test_gradual_unfreezing_adds_a_stage_at_a_time_from_the_last_one_down() -> None:
    trained: list[set[str]] = []
    session = make_session("gradual_unfreezing", epochs=4, unfreeze_every=1, patience=100)
    session.on_epoch = lambda classifier, epoch: trained.append(
        {name for name, stage in classifier.stages.items() if any(p.requires_grad for p in stage.parameters())}
    )
    session.fit(session.dataset.split(0))
    assert trained[1:] == [set(), {"head_conv"}, {"head_conv", "block5"}, {"head_conv", "block5", "block4"}]


def test_gradual_unfreezing_ends_at_a_named_stage_and_reads_the_cache_below_it() -> None:
    session = make_session("gradual_unfreezing", epochs=4, unfreeze_from="block5")
    before = state_of(session.new_classifier().stages)
    fitted = session.fit(session.dataset.split(0))
    assert isinstance(fitted.inputs, CachedInputs)
    assert fitted.inputs.after == "block4"
    after = state_of(fitted.classifier.stages)
    assert {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])} <= {"block5", "head_conv"}


@pytest.mark.parametrize("stage", [stage.name for stage in BACKBONES.get("mobilenet_v3_small").map_stages])
def test_training_may_start_at_any_stage(stage: str) -> None:
    classifier = make_session("partial_finetuning", unfreeze_from=stage).new_classifier()
    names = list(classifier.stages)
    trained = [name for name in names if any(p.requires_grad for p in classifier.stages[name].parameters())]
    assert trained == names[names.index(stage) :]


@pytest.mark.parametrize("policy", ["flip", "modern"])
def test_cached_views_train_a_frozen_network_step_by_step_as_images_do(policy: str) -> None:
    """The same draws, the same losses; a policy with endlessly many views as two seeded ones."""
    losses = []
    for is_cached in (True, False):
        steps: list[float] = []
        session = make_session(
            "feature_extraction", augmentation=policy, num_views=2 if policy == "modern" else None,
            listener=lambda event, steps=steps: steps.append(event.loss) if isinstance(event, StepEnded) else None,
        )  # fmt: skip
        if not is_cached:
            session.inputs = lambda classifier, session=session: ViewsOfImages(session, session.preparation.views())
        session.fit(session.dataset.split(0))
        losses.append(steps)
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


class ViewsOfImages:
    """Draws as `CachedInputs` does, but computes the frozen network on the drawn images in every step."""

    def __init__(self, session: TrainingSession, views: tuple) -> None:
        self.session, self.views = session, views
        self.transform = BatchTransform(32, session.spec.mean, session.spec.std)

    def for_training(self, rows: np.ndarray, epoch: int) -> torch.Tensor:
        ids = [self.session.preparation.image_ids[row] for row in rows]
        drawn = drawn_views(ids, len(self.views), seed=self.session.config.seed, epoch=epoch)
        images = []
        for row, view in zip(rows, [self.views[index] for index in drawn], strict=True):
            pixels = self.session.dataset.pixels[[row]]
            if view.policy:
                parameters = view_parameters(view, [self.session.preparation.image_ids[row]])
                images.append(self.transform.warped(pixels, parameters))
            else:
                images.append(turned(self.transform(pixels), [view.element]))
        return torch.cat(images)

    def for_evaluation(self, rows: np.ndarray) -> torch.Tensor:
        return self.transform(self.session.dataset.pixels[rows])

    def logits(self, classifier: torch.nn.Module, inputs: torch.Tensor, should_stop: Callable) -> torch.Tensor:
        return run_stages(classifier, inputs, should_stop)
