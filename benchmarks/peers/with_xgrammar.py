"""transformers + xgrammar: the frame in xgrammar's Lark dialect, each tool's arguments from its JSON schema."""

import json
from collections.abc import Callable, Mapping

import xgrammar as xgr
from transformers import LogitsProcessor
from xgrammar.contrib.hf import LogitsProcessor as XgrProcessor

from peers.generate import Peer
from smoldiff.decode.model import Model
from smoldiff.decode.request import MAX_CALLS
from smoldiff.errors import UnsupportedSchema
from smoldiff.scaffold.answer import CallStyle, split_special
from smoldiff.schema.source import Source

SEPARATORS = (", ", ": ")


class XGrammarPeer(Peer):
    name = "hf+xgrammar"

    def __init__(self, model: Model, max_tokens: int) -> None:
        super().__init__(model, max_tokens)
        info = xgr.TokenizerInfo.from_huggingface(
            model.tokenizer,
            vocab_size=model.base.model.config.get_text_config().vocab_size,
            stop_token_ids=list(model.eos_ids),
        )
        self._compiler = xgr.GrammarCompiler(info)

    def compile(self, source: Source) -> Callable[[], LogitsProcessor]:
        self._compiler.clear_cache()
        rules = answer_rules(source, self.model.call_style, self.model.vocabulary.added)
        try:
            arguments = {
                f"args_{i}": xgr.Grammar.from_json_schema(
                    tool.parameters,
                    any_whitespace=False,
                    separators=SEPARATORS,
                    strict_mode=False,  # the schema as it is; strict would close every open object
                )
                for i, tool in enumerate(source.tools)
            }
            grammar = self._compiler.compile_lark(rules, named_grammars=arguments)
        except (RuntimeError, ValueError) as problem:
            raise UnsupportedSchema("", f"xgrammar: {problem}") from problem
        return lambda: XgrProcessor(grammar)


def answer_rules(source: Source, style: CallStyle, added: Mapping[str, int]) -> str:
    """Lark rules of one or more framed calls; `@args_0` is the grammar of the first tool's arguments."""

    def frame(text: str) -> str:
        parts = [part.text for part in split_special(text, style.special)]
        return " ".join(f"<[{added[p]}]>" if p in added else _quote(p) for p in parts)

    heads = [
        json.dumps({style.name_key: tool.name}, ensure_ascii=False)[:-1]
        + f"{SEPARATORS[0]}{json.dumps(style.arguments_key)}{SEPARATORS[1]}"
        for tool in source.tools
    ]
    return "\n".join(
        [
            f"start: call ({frame(style.between)} call){{0,{MAX_CALLS - 1}}}",
            f"call: {frame(style.begin)} body {frame(style.end)}",
            "body: " + " | ".join(f"tool_{i}" for i in range(len(heads))),
            *(f'tool_{i}: {_quote(head)} @args_{i} "}}"' for i, head in enumerate(heads)),
        ]
    )


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
