"""The last gate against the official suite, as a ratchet: gate.json lists each known failure, and can only shrink.

Why a test fails is one word: "remote" needs another document, which is never fetched; "annotation" takes `format` as
one, where the gate asserts it; "vocabulary" takes keywords away in a metaschema of its own; "content" and "dependencies"
ask for more than a draft must: for what an encoded text holds, and for a keyword that the newer drafts have renamed.
"""

import json
from collections import Counter
from pathlib import Path

import pytest
from conformance.suite import ARCHIVE, DRAFTS, cases

from smoldiff.errors import UnsupportedSchema
from smoldiff.schema.validation import decoder, faults, first_error

KNOWN = Path(__file__).with_name("gate.json")
OUTCOMES = {
    "remote": "raised",
    "annotation": "refused",
    "vocabulary": "refused",
    "content": "accepted",
    "dependencies": "accepted",
}


def outcome(case):
    value = decoder(is_exact=True).decode(case.text)
    try:
        fault = first_error(value, case.schema)
        assert (fault is None) == (not faults(value, case.schema))
    except UnsupportedSchema as problem:
        return "raised" if "nothing is ever fetched" in problem.problem else problem.problem
    return "accepted" if fault is None else "refused"


def failures(draft):
    found = cases(draft)
    assert len(found) > 1_000
    assert max(Counter(case.name for case in found).values()) == 1
    outcomes = {case: outcome(case) for case in found}
    right = {True: "accepted", False: "refused"}
    return {case.name: one for case, one in outcomes.items() if one != right[case.is_valid]}


@pytest.mark.parametrize("draft", DRAFTS)
def test_the_gate_judges_as_the_suite_does_but_for_what_is_listed(draft):
    if not ARCHIVE.exists():
        pytest.skip("../shared/data/json_schema_test_suite.tar.gz is absent")
    listed = json.loads(KNOWN.read_text(encoding="utf-8"))
    known = {name: why for name, why in listed.items() if name.startswith(f"{draft}/")}
    assert not any(
        "/optional/" not in name for name, why in known.items() if OUTCOMES[why] == "accepted"
    )
    assert failures(draft) == {name: OUTCOMES[why] for name, why in known.items()}
