"""Answers and the demonstration, printed for people."""

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from smoldiff.api import generate_call
from smoldiff.decode.model import Model, load
from smoldiff.decode.result import CallResult
from smoldiff.scaffold.compile import compile_schema
from smoldiff.scaffold.explain import explain

DEMO_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "reserve_restaurant",
            "description": "Reserve a table at a restaurant",
            "parameters": {
                "type": "object",
                "properties": {
                    "restaurant_name": {"type": "string", "description": "Name of the restaurant"},
                    "city": {"type": "string", "description": "City of the restaurant"},
                    "time": {"type": "string", "description": "Time of the reservation, 24 hours"},
                    "party_size": {
                        "type": "integer",
                        "enum": [1, 2, 3, 4, 5, 6],
                        "description": "Number of people",
                    },
                },
                "required": ["restaurant_name", "city", "time"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "find_movies",
            "description": "Search movies that play in a city",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "City of the theater"},
                    "genre": {"type": "string", "enum": ["Comedy", "Drama", "Horror", "Sci-fi"]},
                },
                "required": ["city"],
            },
        },
    },
]
DEMO_MESSAGE = "Please book a table for 2 people at Nopa in San Francisco at 19:30."


def print_result(console: Console, result: CallResult) -> None:
    """The calls (or the text), then what they cost."""
    print_answer(console, result)
    console.print(statistics([("", result)]))


def print_answer(console: Console, result: CallResult) -> None:
    """The calls (or the text) as the model wrote them: no markup, no emoji, no line breaks of ours."""
    if result.content:
        console.print(Text(result.content), soft_wrap=True)
    for call in result.calls:
        name = (f"{call.name} ", "bold cyan") if call.name else ""
        console.print(Text.assemble(name, call.text), soft_wrap=True)


def print_rated(console: Console, result: CallResult) -> None:
    """The calls (or the text), then how sure each value of the calls is; no cost, which watching would falsify."""
    print_answer(console, result)
    table = Table(Column(), Column(justify="right"), box=None, show_header=False)
    for call in result.calls:
        for pointer, chance in call.confidence.items():
            table.add_row(Text(pointer or "(all)"), f"{chance:.0%}")
    console.print(table)


def statistics(results: list[tuple[str, CallResult]]) -> Table:
    """One row a result: tokens, passes, and where the time went. Decoding is base, draft and verify; not compiling."""
    names = ("tokens", "base passes", "drafted", "accepted", "prefill ms", "decode ms")
    table = Table(Column(), *(Column(name, justify="right") for name in names), box=None)
    for name, result in results:
        s = result.stats
        decode_ms = s.ms["base"] + s.ms["draft"] + s.ms["verify"]
        numbers = (s.answer_tokens, s.base_passes, s.drafted, s.accepted)
        table.add_row(name, *map(str, numbers), f"{s.ms['prefill']:.0f}", f"{decode_ms:.0f}")
    return table


def run_demo(console: Console) -> None:
    """A user's sentence, the template of its tools, the call, and plain decoding beside it."""
    model = load()
    scaffold = compile_schema(DEMO_TOOLS)
    console.rule("tools, compiled")
    console.print(explain(scaffold, lambda text: len(model.vocabulary.encode(text))))
    verified = warm_call(model, "verified")
    plain = warm_call(model, "ar")
    console.rule("user")
    console.print(DEMO_MESSAGE, highlight=False)
    console.rule("call")
    print_answer(console, verified)
    console.rule("cost")
    console.print(statistics([("verified", verified), ("plain AR", plain)]))
    is_same = verified.token_ids == plain.token_ids
    console.print(f"token for token the same: [bold]{'yes' if is_same else 'no'}[/]")


def warm_call(model: Model, mode: str) -> CallResult:
    """The demo's call, made twice: the first one of a mode pays for what later ones do not."""
    generate_call(model, DEMO_TOOLS, DEMO_MESSAGE, mode=mode)
    return generate_call(model, DEMO_TOOLS, DEMO_MESSAGE, mode=mode)
