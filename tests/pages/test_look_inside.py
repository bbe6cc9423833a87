"""The page "Look inside" on a tiny data set, with random weights: there are no others in a test."""

import re
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from lib.data.importing import import_folder
from lib.data.library import open_dataset
from lib.models.bundles import save_bundle
from lib.models.classifier import build_classifier
from lib.models.gate import GATE_FILE, save_gate
from lib.models.seen_images import SEEN_FILE, SeenImages, save_seen
from lib.models.stages import build_backbone
from lib.tracking import create_run, read_state
from lib.training.config import TrainConfig
from tests.grading.squares import encode, png, train_on_squares
from tests.pages.scene import link
from tests.run_store import make_run_store

ROOT = Path(__file__).resolve().parents[2]
PAGE = "pages/look_inside.py"
BACKBONE = "mobilenet_v3_small"  # the quickest of the table
STAGES = 7


@pytest.fixture(autouse=True)
def _fresh_listings() -> None:
    st.cache_data.clear()  # the list of data sets is kept for seconds, and every test has its own library


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    generator = np.random.default_rng(0)
    for name in ("<b>red</b>", "blue"):
        folder = tmp_path / "tiny" / name.replace("/", "")
        folder.mkdir(parents=True)
        for index in range(6):
            pixels = generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return import_folder(tmp_path / "tiny", name="tiny").name


def open_page(*, through_app: bool = True, **view: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / ("app.py" if through_app else PAGE)), default_timeout=60)
    for key, value in {"backbone": BACKBONE, "view": "stages", **view}.items():
        at.query_params[key] = value
    if through_app:
        at.switch_page(PAGE)
    at.run()
    assert not at.exception
    assert not at.error, at.error[0].value
    return at


def pictures(at: AppTest) -> str:
    return " ".join(str(element.proto.body) for element in at.get("html"))


@pytest.mark.parametrize("through_app", [True, False])
def test_strip_through_all_stages(dataset: str, *, through_app: bool) -> None:
    at = open_page(through_app=through_app, dataset=dataset)
    shown = pictures(at)
    assert at.title[0].value == "Look inside"
    assert shown.count("<img ") >= 1 + STAGES
    assert "112 × 112 cells" in shown
    assert "7 × 7 cells" in shown
    assert "(stem) of MobileNetV3-small with random weights" in shown  # the alternative text
    assert any("features are random" in warning.value for warning in at.warning)
    assert link(at, "image") == dataset_image(dataset, 0)


def test_an_imagenet_network_opens_on_the_cat_and_names_it(dataset: str) -> None:
    at = open_page(dataset=dataset, backbone="efficientnet_lite0")
    assert link(at, "image") == "sample:chelsea.png"
    shown = " ".join(str(element.value) for element in at.markdown)
    assert "Stefan van der Walt" in shown
    assert re.search(r"(Egyptian|tiger) cat|tabby", pictures(at))
    # A random network has nothing to say of it: the data set's first image.
    at.sidebar.selectbox[1].select(BACKBONE).run()
    assert link(at, "image") == dataset_image(dataset, 0)


@pytest.mark.slow
def test_what_a_person_chose_is_not_opened_over(dataset: str) -> None:
    at = open_page(dataset=dataset, backbone="efficientnet_lite0")
    at.selectbox(key="inside_kind").set_value("dataset").run()
    assert link(at, "image") == dataset_image(dataset, 0)
    assert link(
        open_page(dataset=dataset, backbone="efficientnet_lite0", image=dataset_image(dataset, 2)), "image"
    ) == (dataset_image(dataset, 2))


def dataset_image(name: str, row: int) -> str:
    from lib.data.library import open_dataset

    return str(open_dataset(name).table["image_id"].iloc[row])


def test_a_view_is_a_link(dataset: str) -> None:
    wanted = dataset_image(dataset, 4)
    at = open_page(dataset=dataset, image=wanted, stage="block2", target="281")
    assert link(at, "image") == wanted
    assert any(f"explain --dataset {dataset} --image {wanted} " in code.value for code in at.code)
    assert "4.png" in " ".join(str(element.value) for element in at.markdown).replace("\\", "")
    assert at.selectbox(key="inside_stage").value == "block2"
    assert at.selectbox(key="inside_class").value == 281
    assert any('Class "tabby" (chosen' in caption.value.replace("\\", "") for caption in at.caption)


def test_choices_go_into_the_link(dataset: str) -> None:
    at = open_page(dataset=dataset)
    at.selectbox(key="inside_class").set_value(0).run()
    assert not at.exception
    assert link(at, "target") == "0"
    at.selectbox(key="inside_class").set_value(-1).run()
    assert link(at, "target") == ""


def test_an_image_is_chosen_by_its_picture(dataset: str) -> None:
    at = open_page(dataset=dataset, image=dataset_image(dataset, 8))
    count = pictures(at).count("<img ")
    at.session_state["inside_images"] = True
    at.run()
    shown = pictures(at)
    assert shown.count("<img ") == count + 6  # all of its class, and no other
    assert all(f"image={dataset_image(dataset, row)}" in shown for row in range(6, 12))
    assert f"image={dataset_image(dataset, 0)}" not in shown
    at.selectbox(key="inside_class_tiny_1").select(0).run()
    assert f"image={dataset_image(dataset, 0)}" in pictures(at)
    assert link(at, "image") == dataset_image(dataset, 8)  # looking for another is no choice yet


def test_a_view_of_the_page_is_a_link_and_an_unknown_one_says_so(dataset: str) -> None:
    at = open_page(dataset=dataset)
    tabs = next(element for element in at.get("button_group") if element.key == "inside_view")
    assert tabs.options[:3] == ["Stage worth", "Networks", "Stages"]
    tabs.set_value("channels").run()
    assert link(at, "view") == "channels"
    at = open_page(dataset=dataset, view="nonsense")
    assert next(warning.value for warning in at.warning) == "There is no view nonsense; showing the first one."


def test_transfer_surgery_draws_three_networks_and_their_table(dataset: str) -> None:
    at = open_page(dataset=dataset, view="architecture", cut="block5")
    shown = pictures(at)
    assert [shown.count(f">{title}</b>") for title in ("Original network", "Transfer, frozen backbone", "Fine-tuning")]
    assert at.selectbox(key="inside_cut").value == "block5"
    table = at.dataframe[0].value
    assert table["Trainable"].tolist().index(True) == table["Stage"].tolist().index("block5")
    assert table["Output shape"].iloc[0] == "112 × 112 × 16"
    assert table["A place sees, px"].iloc[0] == "3"
    assert "view=stages" in shown
    assert "stage=block5" in shown
    at.selectbox(key="inside_cut").set_value("stem").run()
    assert link(at, "cut") == "stem"
    assert at.dataframe[0].value["Trainable"].all()
    at = open_page(dataset=dataset, view="architecture", cut="conv9")
    assert any("There is no stage conv9 to fine-tune from" in warning.value for warning in at.warning)


def test_from_the_beginning_a_kernel_and_its_effect(dataset: str) -> None:
    at = open_page(dataset=dataset, view="beginning")
    shown = pictures(at)
    assert shown.count("applied to") >= 2 * 8  # the bench; alt and title
    assert "kernel=blur" in shown
    at = open_page(dataset=dataset, view="beginning", kernel="0 0 0 0 2 0 0 0 0")
    assert "Own kernel applied to" in pictures(at)
    at.text_input(key="inside_own_kernel").set_value("1 2 3").run()
    assert any("A kernel is nine numbers" in warning.value for warning in at.warning)


def test_a_convolution_is_stepped_by_hand(dataset: str) -> None:
    at = open_page(dataset=dataset, view="beginning", part="by_hand", kernel="0 0 0 0 1 0 0 0 0")
    first = next(element.value for element in at.markdown if "=" in element.value).replace("\\", "")
    value, sum_words = re.match(r"\((\d+) × 1\) = (\d+)", first).groups()
    assert value == sum_words
    assert any("at the last step" in caption.value for caption in at.caption)
    at.slider(key="inside_step").set_value(25).run()
    assert any("seen on the right" in caption.value for caption in at.caption)


def test_the_filters_of_any_convolution_beside_their_responses(dataset: str) -> None:
    at = open_page(dataset=dataset, view="beginning", part="filters")
    assert pictures(at).count("Response of filter") >= 12
    other = at.selectbox(key="inside_layer").options[3].partition(":")[0]
    at = open_page(dataset=dataset, view="beginning", part="filters", layer=other)
    assert "Response of filter" in pictures(at)
    assert f" of {other}" in pictures(at)
    at = open_page(dataset=dataset, view="beginning", part="filters", layer="conv9")
    assert any("There is no convolution conv9" in warning.value for warning in at.warning)


def test_the_route_without_a_network_says_what_it_was_made_for(dataset: str) -> None:
    at = open_page(dataset=dataset, view="beginning", part="no_network")
    assert all(name in pictures(at) for name in ("Vessels", "Red lesions", "Bright lesions"))
    assert any("made by hand for fundus photographs" in info.value for info in at.info)
    assert len(at.dataframe[0].value) == 69
    assert any("Hand-made features + SVM" in caption.value for caption in at.caption)


def test_a_bad_link_falls_back(dataset: str) -> None:
    at = open_page(dataset=dataset, image="0123456789abcdef", stage="conv9", run="abc", target="5000")
    warnings = " ".join(warning.value for warning in at.warning)
    assert "no image 0123456789abcdef" in warnings
    assert "no run abc" in warnings
    at.run()
    assert " ".join(warning.value for warning in at.warning) == warnings  # not silent at the next click either
    assert link(at, "target") == ""
    assert pictures(at).count("<img ") >= 1 + STAGES


def test_samples_need_no_data_set() -> None:
    at = open_page()
    assert pictures(at).count("<img ") >= 1 + STAGES
    assert link(at, "image").startswith("sample:")


def test_mean_activation_and_filters(dataset: str) -> None:
    at = open_page(dataset=dataset)
    at.session_state["inside_maps_2"] = "Mean activation"
    at.run()
    assert "Mean activation at " in pictures(at)
    at = open_page(dataset=dataset, view="channels")
    assert "Channel " in pictures(at)
    at.session_state["inside_detail"] = "First-layer filters"
    at.run()
    shown = pictures(at)
    assert not at.exception
    assert "First-layer filter 0, 3 × 3" in shown
    assert "Channel " not in shown


def make_run(head: str, strategy: str, *, is_medical: bool = False, version: str = "") -> str:
    """A finished run with a random backbone."""
    make_run_store()
    backbone = build_backbone(BACKBONE, weights="random", feature_only=True)
    classifier = build_classifier(backbone, head=head, num_classes=2)
    if head == "nearest_neighbors":
        classifier.head.fit(torch.randn(4, backbone.spec.feature_dim), torch.tensor([0, 0, 1, 1]))
    config = TrainConfig(dataset="tiny", backbone=BACKBONE, strategy=strategy, weights="random")
    run = create_run(config.to_dict(), name=f"A {strategy}")
    run.set_state("finished")
    spec = backbone.spec
    preprocessing = {"input_size_px": 64, "mean": list(spec.mean), "std": list(spec.std), "crop_policy": "retina_box"}
    manifest = {
        "classes": ["<b>No DR</b>", "Mild"], "preprocessing": preprocessing, "strategy": strategy,
        "dataset": {"name": "tiny", "version": version, "is_medical": is_medical},
    }  # fmt: skip
    save_bundle(run.folder / "bundle", classifier, manifest, base_digest="none")
    return run.run_id


def test_a_finished_run_with_its_classes(dataset: str) -> None:
    run_id = make_run("linear", "from_scratch", is_medical=True)
    at = open_page(dataset=dataset, run=run_id[:8])
    assert link(at, "run") == run_id
    assert at.selectbox(key="inside_class").options == ["Whichever is predicted", "<b>No DR</b>", "Mild"]
    assert any("Research and education only" in caption.value for caption in at.caption)
    assert not any("random" in warning.value for warning in at.warning)  # trained from scratch: learned
    assert "(stem) of A from_scratch" in pictures(at)
    assert "<b>No DR" not in pictures(at)
    assert "&lt;b&gt;No DR" in pictures(at)


def test_one_image_through_several_networks(dataset: str) -> None:
    run_id = make_run("linear", "full_finetuning")
    at = open_page(dataset=dataset, view="networks")
    assert at.multiselect(key="inside_networks").value == [run_id, "random"]  # no pretrained weights at hand
    shown = pictures(at)
    assert shown.count("<img ") == 2 * (1 + STAGES)
    assert any("Right: " in caption.value.replace("\\", "") for caption in at.caption)
    at.selectbox(key="inside_networks_class").set_value("Mild").run()
    assert link(at, "class") == "Mild"
    said = " ".join(element.value for element in at.markdown).replace("\\", "")
    assert re.search(r"(gives|answers) \**Mild", said)
    at.multiselect(key="inside_networks").set_value([run_id]).run()
    assert link(at, "networks") == run_id
    assert pictures(at).count("<img ") == 1 + STAGES
    at = open_page(dataset=dataset, view="networks", networks=f"{run_id[:8]},gone")
    assert any("There is no network gone" in warning.value for warning in at.warning)
    assert at.multiselect(key="inside_networks").value == [run_id]


def test_an_image_that_the_run_was_trained_on_is_marked(dataset: str) -> None:
    run_id = make_run("linear", "from_scratch")
    seen = SeenImages.of([dataset_image(dataset, 1)], [])
    save_seen(read_state(run_id).folder / "bundle" / SEEN_FILE, seen)
    sentence = "This image was among the training images"
    for row, is_marked in ((1, True), (2, False)):
        at = open_page(dataset=dataset, run=run_id[:8], image=dataset_image(dataset, row))
        assert any(sentence in element.value for element in at.markdown) is is_marked


def test_nearest_neighbors_show_activations_and_say_why(dataset: str) -> None:
    at = open_page(dataset=dataset, run=make_run("nearest_neighbors", "nearest_neighbors"))
    assert any("no useful gradient" in info.value for info in at.info)
    assert any("features are random" in warning.value for warning in at.warning)
    assert "Mean activation at " in pictures(at)
    assert "Grad-CAM at" not in pictures(at)


def test_names_are_shown_literally(dataset: str) -> None:
    at = open_page(dataset=dataset)
    texts = " ".join(element.value for element in at.markdown)
    assert "<b>" not in texts.replace("\\<b", "")


@pytest.fixture
def gated(dataset: str) -> str:
    """A run on coloured squares with a gate, and limits that the expected grade always reaches: its class is blue."""
    make_run_store()
    classifier, manifest, gate = train_on_squares()
    config = {"dataset": "squares", "backbone": BACKBONE, "strategy": "linear_probe"}
    run = create_run(config, name="Squares")
    save_bundle(run.folder / "bundle", classifier, manifest | {"thresholds": [-2.0]}, base_digest="")
    save_gate(run.folder / "bundle" / GATE_FILE, gate)
    run.set_state("finished")
    return run.run_id


def upload(at: AppTest, name: str, data: bytes) -> AppTest:
    at.file_uploader(key="inside_upload").set_value([(name, data, "image/png")]).run()
    assert not at.exception
    assert not at.error
    return at


def texts(at: AppTest) -> str:
    found = (*at.markdown, *at.caption, *at.warning, *at.info, *at.code)
    return " ".join(str(element.value) for element in found).replace("\\", "")


def test_an_upload_that_grading_refuses_is_refused_here(gated: str) -> None:
    noise = encode(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8))
    at = upload(open_page(run=gated, image="upload"), "noise.png", noise)
    (warning,) = [one.value for one in at.warning if "No class is given" in one.value]
    assert "Unlike" in warning
    assert "Refused: no class is given." in texts(at)
    assert "network's answer" not in texts(at)
    shown = pictures(at)
    assert "Grad-CAM at" not in shown
    assert "45%,transparent" in shown  # the bars are grey
    assert "--target" not in texts(at)
    at.selectbox(key="inside_class").set_value(0).run()
    assert "the image is turned away" in texts(at)
    assert "--target 0" in texts(at)


@pytest.mark.parametrize(("rule", "expected"), [(None, "red"), ("expected", "blue")])
def test_the_answer_is_that_of_grading_under_both_rules(gated: str, rule: str | None, expected: str) -> None:
    view = {"rule": rule} if rule else {}
    at = upload(open_page(run=gated, image="upload", **view), "red.png", png("red", 1))
    assert f"The network's answer: {expected}." in texts(at)
    assert f'Class "{expected}"' in texts(at)
    assert "feature distance" in texts(at)
    assert "Refused" not in texts(at)
    assert ("--by-thresholds" in texts(at)) == bool(rule)
    at.toggle(key=f"inside_rule_{gated}").set_value(not rule).run()
    assert f"The network's answer: {'red' if rule else 'blue'}." in texts(at)


def test_images_of_another_data_set_pass_the_gate_and_own_ones_need_not(gated: str, dataset: str) -> None:
    own = make_run("linear", "from_scratch", version=open_dataset(dataset).version)
    assert "Refused: no class is given." in texts(open_page(dataset=dataset, run=gated))  # noise
    assert "network was trained on" in texts(open_page(dataset=dataset, run=own))


def test_a_run_without_a_gate_says_so(dataset: str) -> None:
    at = open_page(dataset=dataset, run=make_run("linear", "from_scratch"))
    assert "Not compared with the training images: this classifier keeps none." in texts(at)


@pytest.mark.parametrize("backbone", ["timm:test_vit", "timm:test_resnet"])
def test_any_network_of_timm_can_be_looked_into(dataset: str, backbone: str) -> None:
    at = open_page(dataset=dataset, backbone=backbone)
    assert f"{backbone} has learned nothing" in at.warning[0].value
    shown = pictures(at)
    kinds = next(element for element in at.get("button_group") if element.key.startswith("inside_maps"))
    if backbone == "timm:test_vit":
        assert kinds.options == ["Mean activation"]
        assert any("works on tokens" in info.value for info in at.info)
        assert shown.count("10 × 10 cells") >= 7  # six blocks and the last norm
    else:
        assert "Grad-CAM" in kinds.options
        assert "80 × 80 cells" in shown
    at = open_page(dataset=dataset, backbone=backbone, view="channels")
    at.session_state["inside_detail"] = "First-layer filters"
    at.run()
    assert "First-layer filter 0" in pictures(at)
    assert not at.exception


def test_the_search_field_finds_a_network_of_timm_and_shows_it(dataset: str) -> None:
    at = open_page(dataset=dataset)
    at.text_input(key="inside_search_text").set_value("test vit").run()
    found = next(element for element in at.get("button_group") if element.key == "inside_search_found_test vit")
    assert found.options[:3] == ["test_vit", "test_vit2", "test_vit3"]
    found.set_value("test_vit").run()
    assert not at.exception
    assert link(at, "backbone") == "timm:test_vit"
    assert "timm:test_vit has learned nothing" in at.warning[0].value
    at.selectbox(key="sidebar_backbone").set_value(BACKBONE).run()
    assert link(at, "backbone") == BACKBONE  # the found one is not chosen again


def test_the_page_opens_on_what_a_stage_is_worth_with_the_networks_answer(dataset: str) -> None:
    at = open_page(dataset=dataset, backbone="efficientnet_lite0", view="")
    tabs = next(element for element in at.get("button_group") if element.key == "inside_view")
    assert tabs.value == "worth"
    assert link(at, "image") == "sample:chelsea.png"
    assert re.search(r"(Egyptian|tiger) cat|tabby", texts(at))
