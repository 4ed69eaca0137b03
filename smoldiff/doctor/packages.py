"""The packages that smoldiff asks for and those that are there, by the metadata that pip wrote."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from smoldiff.doctor.machine import Need

EXTRAS = {"train": "training", "quantized": "4-bit models"}
"""What each extra is good for. Those that are not named here neither train nor serve."""


def own_needs() -> tuple[Need, ...]:
    """What the installed smoldiff asks for; nothing where it runs from a folder that was never installed."""
    try:
        return needs_of(metadata.requires("smoldiff") or ())
    except metadata.PackageNotFoundError:
        return ()


def own_python_versions() -> str:
    """The range of Pythons that the installed smoldiff asks for; "" where it was never installed."""
    try:
        return metadata.metadata("smoldiff")["Requires-Python"]
    except metadata.PackageNotFoundError:
        return ""


def needs_of(requirements: Iterable[str]) -> tuple[Need, ...]:
    """What is asked for always, then what each of EXTRAS adds, where the markers hold on this machine."""
    parsed = [Requirement(line) for line in requirements]
    always = [_need(one, "") for one in parsed if _holds(one, "")]
    added = [
        _need(one, extra)
        for extra in EXTRAS
        for one in parsed
        if _holds(one, extra) and not _holds(one, "")
    ]
    return (*always, *added)


def installed(names: Iterable[str]) -> dict[str, str]:
    """The version of each package that is there."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def missing_for(extra: str) -> list[str]:
    """The packages of an extra that are not there."""
    names = [need.name for need in own_needs() if need.extra == extra]
    return [name for name in names if name not in installed(names)]


def is_within(version: str, versions: str) -> bool:
    """Whether a version, a pre-release too, is in a range such as ">=2.11,<3"."""
    return SpecifierSet(versions).contains(version, prereleases=True)


def _need(one: Requirement, extra: str) -> Need:
    return Need(canonicalize_name(one.name), str(one.specifier), extra)


def _holds(one: Requirement, extra: str) -> bool:
    return one.marker is None or one.marker.evaluate({"extra": extra})
