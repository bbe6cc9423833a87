"""Plans of series, kept as JSON beside their states: written, listed, and found by id or the beginning of one."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.settings import runs_dir

_NUM_NAMED = 5  # so many ids stand in the sentence that an id is unknown


class SeriesPlan(Protocol):
    """What all plans are: dataclasses with an id of hexadecimal digits, and when they were made (s since 1970)."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def plan_id(self) -> str:
        """The id, also the name of its files."""

    @property
    def created_s(self) -> float:
        """When it was made."""


Plan = TypeVar("Plan", bound=SeriesPlan)


@dataclass(frozen=True)
class KeptPlans(Generic[Plan]):
    """The plans of one kind, in a folder of that name beside the runs.

    `noun` and `nouns` say in errors what they are ("race", "races"); `parse` makes a plan of what the file holds and
    raises TypeError, ValueError, KeyError or UserError where this version cannot read it.
    """

    folder: str
    parse: Callable[[dict[str, Any]], Plan]
    noun: str
    nouns: str

    def state_file(self, plan_id: str) -> Path:
        """Where the state of a plan's series belongs."""
        return runs_dir() / self.folder / f"{plan_id}.json"

    def write(self, plan: Plan) -> None:
        """Keep a plan, whose fields JSON must know."""
        write_json(self.state_file(plan.plan_id).with_suffix(".plan.json"), dataclasses.asdict(plan))

    def newest_first(self) -> list[Plan]:
        """All plans, newest first; those that this version cannot read are passed over."""
        plans = []
        for path in (runs_dir() / self.folder).glob("*.plan.json"):
            try:
                plans.append(self.parse(read_json(path)))
            except (OSError, ValueError, TypeError, KeyError, UserError):
                continue
        return sorted(plans, key=lambda plan: -plan.created_s)

    def find(self, plan_id: str) -> Plan:
        """The plan of that id or the beginning of it, or "latest"; raises UserError if there is none, or several."""
        plans = self.newest_first()
        if plan_id == "latest" and plans:
            return plans[0]
        found = [plan for plan in plans if re.fullmatch("[0-9a-f]+", plan_id) and plan.plan_id.startswith(plan_id)]
        if len(found) != 1:
            known = ", ".join(plan.plan_id for plan in plans[:_NUM_NAMED]) or "none so far"
            raise UserError(f"There is no {self.noun} {plan_id!r}; the {self.nouns} here: {known}.")
        return found[0]
