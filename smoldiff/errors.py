"""Everything smoldiff raises on purpose. Each message says where, what, and what to do next.

SmoldiffError
├── SchemaError                  the schema is at fault; `.pointer` says where in it
│   ├── InvalidSchema            not a schema at all, or a keyword with a value of the wrong kind
│   ├── UnresolvableRef          a $ref that points nowhere, away from this document, or only to itself
│   ├── UnsatisfiableSchema      no JSON value can ever satisfy it
│   └── UnsupportedSchema        valid, but neither the scaffold nor the grammar engine can express it
├── TemplateError                scaffold and tokenizer do not fit together
├── RequestError                 the caller asked for something that cannot be done
│   ├── UnknownTool              tool_choice names a tool that was not given
│   ├── InvalidGiven             a `given=` value that no argument can take
│   └── PromptTooLong            the prompt leaves no room for an answer in the model's context
├── ModelError                   the model or its tokenizer cannot be used
│   ├── ModelNotFound            nothing could be loaded under that name or path
│   ├── MissingChatTemplate      messages were given, but the tokenizer has no chat template
│   ├── UnsupportedModel         its cache cannot be cut back after a rejected draft, or a head cannot read its states
│   └── HeadMismatch             a head was trained for another base
└── GenerationError              decoding ran and did not end in a valid answer; `.text` is what there is
    ├── IncompleteCall           max_tokens was reached inside a call
    └── InvalidCall              the last gate: the arguments do not validate under the schema
"""


class SmoldiffError(Exception):
    """Base of every error that smoldiff raises on purpose."""


class SchemaError(SmoldiffError):
    """The schema is at fault. `pointer` is a JSON pointer into it ("" is the whole schema)."""

    def __init__(self, pointer: str, problem: str) -> None:
        self.pointer = pointer
        self.problem = problem
        super().__init__(f"schema at {pointer or '(root)'}: {problem}")


class InvalidSchema(SchemaError):
    """Not a schema at all, or a keyword with a value of the wrong kind."""


class UnresolvableRef(SchemaError):
    """A $ref that points nowhere, away from this document, or only to itself."""


class UnsatisfiableSchema(SchemaError):
    """No JSON value can ever satisfy the schema."""


class UnsupportedSchema(SchemaError):
    """A valid schema that neither the scaffold nor the grammar engine can express."""


class TemplateError(SmoldiffError):
    """Scaffold and tokenizer do not fit together."""


class RequestError(SmoldiffError):
    """The caller asked for something that cannot be done."""


class UnknownTool(RequestError):
    """`tool_choice` names a tool that was not given."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        super().__init__(f"tool_choice: no tool is called {name!r}; given: {', '.join(known)}")


class InvalidGiven(RequestError):
    """A `given=` value that no argument can take. `pointer` is the key that was passed."""

    def __init__(self, pointer: str, problem: str) -> None:
        self.pointer = pointer
        super().__init__(f"given[{pointer!r}]: {problem}")


class PromptTooLong(RequestError):
    """The prompt leaves no room for an answer in the model's context."""

    def __init__(self, num_prompt_tokens: int, max_context_tokens: int) -> None:
        super().__init__(
            f"the prompt has {num_prompt_tokens} tokens and the model's context {max_context_tokens}; "
            "shorten the messages or give fewer tools"
        )


class ModelError(SmoldiffError):
    """The model or its tokenizer cannot be used."""


class ModelNotFound(ModelError):
    """Nothing could be loaded under that name or path."""


class MissingChatTemplate(ModelError):
    """Messages were given, but the tokenizer has no chat template."""


class UnsupportedModel(ModelError):
    """The model's cache cannot be cut back after a rejected draft, or a head cannot read its states."""


class HeadMismatch(ModelError):
    """A head was trained for another base. `field` says in what the two differ."""

    def __init__(self, field: str, expected: object, found: object, *names: str) -> None:
        self.field = field
        for_base, at_hand = names
        super().__init__(
            f"the head was trained for {for_base or 'another base'} ({field} {expected!r}), but the base at hand, "
            f"{at_hand or 'unnamed'}, has {found!r}; load that base, or train a head for this one: smoldiff train"
        )


class GenerationError(SmoldiffError):
    """Decoding ran and did not end in a valid answer. `text` is what the model wrote.

    `stats` is what the answer cost (decode.result.Stats). `results` holds, for a batch, the result or the error of each
    conversation.
    """

    stats: object = None
    results: tuple[object, ...] = ()

    def __init__(self, problem: str, text: str) -> None:
        self.text = text
        super().__init__(problem)


class IncompleteCall(GenerationError):
    """`max_tokens` was reached inside a call."""


class InvalidCall(GenerationError):
    """The last gate: the arguments do not validate. `pointer` says where in the arguments."""

    def __init__(self, pointer: str, problem: str, text: str) -> None:
        self.pointer = pointer
        self.problem = problem
        super().__init__(f"arguments at {pointer or '(root)'}: {problem}", text)
