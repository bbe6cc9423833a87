"""The answers of the service as its OpenAPI description states them; they are made by `lib.grading.report`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = float | None


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="What is wrong and what to do, in one sentence.")
    notice: str = Field(description="The notice that every answer of a medical classifier carries.")


class State(BaseModel):
    """Whether the service is there."""

    status: Literal["ok", "ready", "starting"]
    notice: str


class ImageAnswer(BaseModel):
    """What is said of one image: the entry that the reports of the command line have, with these fields and more."""

    model_config = ConfigDict(extra="allow")

    name: str
    status: Literal["graded", "unsure", "ungradable", "unlike", "refused"]
    reason: str = Field(description="Why no class is given, or what the comparison with the training images found.")
    class_name: str | None = Field(description="null unless graded")
    target: int | None
    confidence: Share
    probabilities: dict[str, float]
    prediction_set: list[str]
    coverage: Share
    is_coverage_out_of_fold: bool = Field(
        description="Whether the coverage is expected to be this or more, and not promised: other fits than this "
        "classifier gave the answers that the limits of the sets were fitted on."
    )
    set_caveats: list[str] = Field(description="What is to be said beside the set, in sentences.")
    distance: float | None
    threshold: float | None
    notices: list[str]
    rule: str
    is_close_call: bool
    seen: str
    sha256: str
    map_png: str | None = Field(
        default=None, description="Base64 of a PNG with the map over the image, where a map was asked for and made."
    )


class GradeAnswer(BaseModel):
    """One image's grade."""

    format_version: int
    run: str
    notice: str
    image: ImageAnswer


class ModelAnswer(BaseModel):
    """What is known of the classifier."""

    model_config = ConfigDict(extra="allow")

    run: str
    dataset: str
    backbone: str
    strategy: str
    class_names: list[str]
    is_medical: bool
    result: str = Field(description="What it reached on the test images of its training.")
    notice: str
    rule: str
    has_maps: bool
    has_gate: bool
    is_ordinal: bool | None


class BatchAnswer(BaseModel):
    """The grades of many images, as `grade --json` gives them."""

    model_config = ConfigDict(extra="allow")

    format_version: int
    run: str
    notice: str
    class_names: list[str]
    counts: dict[str, int]
    images: list[ImageAnswer]


_SAID: dict[int, str] = {
    401: "No token, or a wrong one.",
    408: "The request took too long to arrive.",
    413: "The request is larger than the limit.",
    415: "The request is no form.",
    422: "The request cannot be carried out as it is.",
    429: "Too many requests with this token, or all places of the queue are taken.",
    503: "The service is starting.",
}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for its description."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        found[status] = {"model": Problem, "description": _SAID[status]}
        if status == 429:
            found[status]["headers"] = _RETRY
    return found


def form_of_files(field: str, *, is_list: bool) -> dict[str, Any]:
    """The body of a route that takes files, for its description."""
    file = {"type": "string", "format": "binary"}
    part = {"type": "array", "items": file, "minItems": 1} if is_list else file
    schema = {"type": "object", "required": [field], "additionalProperties": False, "properties": {field: part}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
