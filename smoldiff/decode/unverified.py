"""Mode "diffusion": answers that a scorer fills and no base verifies."""

import time

from smoldiff.decode.diffusion import write_answer
from smoldiff.decode.gate import read_calls, read_value
from smoldiff.decode.judge import judge
from smoldiff.decode.model import Model
from smoldiff.decode.request import Plan
from smoldiff.decode.result import CallResult, Stats
from smoldiff.decode.scores import Scorer
from smoldiff.errors import GenerationError


def write_calls(model: Model, plan: Plan, num_answers: int) -> list[CallResult | GenerationError]:
    """One answer after another. Raises RequestError, UnsupportedSchema; an answer that fails by itself is its error."""
    assert plan.scorer is not None
    outcomes: list[CallResult | GenerationError] = []
    for _ in range(num_answers):
        try:
            outcomes.append(_write(model, plan, plan.scorer))
        except GenerationError as problem:
            outcomes.append(problem)
    return outcomes


def _write(model: Model, plan: Plan, scorer: Scorer) -> CallResult:
    began = time.perf_counter()
    form = plan.form
    written = write_answer(
        plan.scaffold,
        model.vocabulary,
        scorer,
        judge(form),
        max_tokens=plan.max_tokens,
        max_remasks=plan.max_remasks,
    )
    stats = Stats(
        answer_tokens=len(written.token_ids),
        head_passes=written.num_asked,
        remasked=written.num_remasked,
    )
    stats.ms["compile"] = plan.plan_ms
    stats.ms["draft"] = 1e3 * (time.perf_counter() - began)
    if form.source.tools:
        calls = read_calls(written.text, form.source, form.call_style)
    else:
        calls = (read_value(written.text, form.source),)
    return CallResult(calls, None, written.text, written.token_ids, "tool_calls", stats)
