"""What the scripts of tests that run an engine share: a small one, prompts for it, and a schema."""

from vllm import LLM

from smoldiff.decode.model import NANO_PATH, load_tokenizer
from smoldiff_integrations.vllm.serve import STRUCTURED_OUTPUTS

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "hour": {"type": "integer", "minimum": 0, "maximum": 23},
        "meal": {"enum": ["lunch", "dinner"]},
        "note": {"type": "string", "maxLength": 60},
    },
    "required": ["city", "hour", "meal", "note"],
    "additionalProperties": False,
}


def small_engine(**options):
    """The bundled model for four requests at a time."""
    return LLM(
        model=str(NANO_PATH),
        dtype="float32",
        enforce_eager=True,
        distributed_executor_backend="uni",
        max_num_seqs=4,
        disable_log_stats=False,
        structured_outputs_config=STRUCTURED_OUTPUTS,
        **options,
    )


def prompts_of(questions):
    tokenizer = load_tokenizer()
    return [
        {
            "prompt_token_ids": tokenizer.apply_chat_template(
                [{"role": "user", "content": question}],
                add_generation_prompt=True,
                return_dict=False,
            )
        }
        for question in questions
    ]
