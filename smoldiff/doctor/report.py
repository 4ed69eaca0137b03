"""All checks of a machine, for people and for machines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from smoldiff.doctor.check import Ability, Check
from smoldiff.doctor.hardware import check_hardware
from smoldiff.doctor.machine import Machine
from smoldiff.doctor.software import check_software

STYLES = {"ok": "green", "warn": "yellow", "missing": "bold red"}


@dataclass(frozen=True, slots=True)
class Report:
    machine: Machine
    checks: tuple[Check, ...]

    def can(self, ability: Ability) -> bool:
        return not self.hindrances(ability)

    def hindrances(self, ability: Ability) -> list[str]:
        """The names of what is in the way."""
        return [check.name for check in self.checks if ability in check.blocks]

    def to_json(self) -> str:
        """One line: what it can do, the checks, and the machine as it was found."""
        abilities = {"can_serve": self.can("serve"), "can_train": self.can("train")}
        checks = [asdict(check) for check in self.checks]
        return json.dumps({**abilities, "checks": checks, "machine": asdict(self.machine)})


def examine(machine: Machine) -> Report:
    return Report(machine, (*check_software(machine), *check_hardware(machine)))


def print_report(console: Console, report: Report) -> None:
    """The table, what to do about each row that is not ok, and whether the machine can serve and train."""
    table = Table(box=None, show_header=False)
    for check in report.checks:
        table.add_row(Text(check.status, STYLES[check.status]), Text(check.name), Text(check.found))
    console.print(table)
    todo = [check for check in report.checks if check.todo]
    if todo:
        console.print("\n[bold]what to do[/]")
    for check in todo:
        console.print(Text(f"{check.name}: {check.todo}"), soft_wrap=True)
    console.print()
    print_ability(console, report, "serve")
    print_ability(console, report, "train")


def print_ability(console: Console, report: Report, ability: Ability) -> None:
    hindrances = report.hindrances(ability)
    answer = f"no, because of {', '.join(hindrances)}" if hindrances else "yes"
    style = STYLES["missing" if hindrances else "ok"]
    console.print(Text.assemble(f"can {ability}: ", (answer, style)), soft_wrap=True)
