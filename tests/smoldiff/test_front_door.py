"""The public surface: small, documented, and light to import."""

import inspect
import subprocess
import sys

from slowness import within

import smoldiff


def test_all_is_sorted_and_complete():
    assert smoldiff.__all__ == sorted(smoldiff.__all__)
    assert set(smoldiff._HOMES) <= set(smoldiff.__all__)
    for name in smoldiff.__all__:
        assert getattr(smoldiff, name) is not None
        assert inspect.getdoc(getattr(smoldiff, name))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(smoldiff, "generate_cal")


def test_import_is_light():
    """No torch, no transformers; at most 0.2 s, the best of five so that a busy machine does not fail it."""
    code = (
        "import sys, time; start = time.perf_counter(); import smoldiff; took = time.perf_counter() - start;"
        "print(took, *({'torch', 'transformers', 'llguidance', 'numpy', 'jsonschema'} & set(sys.modules)))"
    )
    seconds = []
    for _ in range(5):
        took, *heavy = subprocess.check_output([sys.executable, "-c", code], text=True).split()
        assert not heavy
        seconds.append(float(took))
    assert min(seconds) <= 0.2


def test_compiling_a_schema_needs_no_torch():
    code = (
        "import sys, smoldiff; smoldiff.compile_schema({'type': 'object'});"
        "print(*({'torch', 'transformers', 'llguidance'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


def test_a_compiled_schema_is_cached():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    first = smoldiff.compile_schema(schema)

    def compile_again():
        assert smoldiff.compile_schema(dict(schema)) is first

    within(0.05, compile_again)
