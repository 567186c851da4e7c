"""The state of a report, `state.json`: what was planned, run and measured, so that it can be resumed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.reporting.plan import Plan, Step
from deepvideo_tf.storage.writes import write_text_atomically

STATE_NAME = "state.json"


@dataclass
class ReportState:
    """What a report has done so far.

    Args:
        report_dir: the folder of the report.
        made_for: what it is a report of; another report is not mixed with it.
        plan: the size of the report; None before it is planned.
        done: finished commands.
        seconds: seconds spent, by command.
        speed: the measured speeds; None before.
    """

    report_dir: Path
    made_for: dict[str, Any]
    plan: Plan | None = None
    done: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    speed: dict[str, Any] | None = None

    @classmethod
    def read(cls, report_dir: Path, made_for: dict[str, Any]) -> ReportState:
        """Read the state of a report; an empty one if there is none.

        Args:
            report_dir: the folder of the report.
            made_for: what it is a report of.

        Returns:
            `ReportState`.

        Raises:
            ModelFileError: the file is damaged.
            ConfigError: it is the state of another report.
        """
        path = report_dir / STATE_NAME
        if not path.exists():
            return cls(report_dir, made_for)
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            found = {**state["made_for"]}
            plan = state["plan"] and Plan(**state["plan"])
            read = cls(report_dir, found, plan, [*state["done"]], {**state["seconds"]}, state["speed"])
            _ = {**(read.speed or {})}
        except (ValueError, KeyError, TypeError) as error:
            raise ModelFileError(
                f"{path}: not a whole state of a report: {error!r}; give another folder, or remove this one to start "
                "again"
            ) from None
        if found != made_for:
            asked, of = (", ".join(f"{name}={value}" for name, value in one.items()) for one in (made_for, found))
            raise ConfigError(f"{report_dir}: holds a report of {of}, expected one of {asked}; give another folder")
        return read

    def save(self) -> None:
        """Write the state."""
        state = dataclasses.asdict(self)
        del state["report_dir"]
        write_text_atomically(self.report_dir / STATE_NAME, json.dumps(state, indent=1, ensure_ascii=False) + "\n")

    def run(self, steps: Sequence[Step], run_program: Callable[..., None]) -> None:
        """Run the commands that are not finished; if a model is trained again, what follows is evaluated again.

        Args:
            steps: the commands, in their order.
            run_program: runs a program with its arguments; raises an exception if that fails.
        """
        for number, step in enumerate(steps):
            if step.command in self.done and step.makes.exists():
                continue
            if step.program == "deepvideo-train":  # forget now: an interruption must not leave outdated results
                stale = {later.command for later in steps[number:] if later.program == "deepvideo-evaluate"}
                self.done = [done for done in self.done if done not in stale]
            started_s = time.monotonic()
            try:
                run_program(step.program, *step.arguments)
            finally:  # an interrupted training resumes: its time is the sum of all parts
                self.seconds[step.command] = self.seconds.get(step.command, 0.0) + time.monotonic() - started_s
                self.save()
            self.done = sorted({*self.done, step.command})
            self.save()
