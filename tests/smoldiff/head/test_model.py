"""The head's own computation: shapes, parts, what sees what, and plain references for what is written fast."""

import pytest
import torch
from fakes import byte_tokenizer
from heads import (
    LAYOUTS,
    PARTS,
    all_rows,
    new_head,
    query,
    random_seen,
    read_by,
    remembered,
    scores_of,
    shaken_head,
    slot_queries,
    small_model,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, GPTNeoXConfig, SmolLM3Config

from smoldiff.decode.model import Model
from smoldiff.errors import ModelError, UnsupportedModel
from smoldiff.head.inputs import (
    DECISIONS,
    KINDS,
    MAX_INDEX,
    MAX_NAME_TOKENS,
    MAX_OFFSET,
    NO_TOKEN,
    Queries,
)
from smoldiff.head.model import DiffusionHead
from smoldiff.head.readings import MAX_MATCH, Rows, matched, mixed
from smoldiff.head.taps import Taps

TEXT = [5, 9, 2, 200, 17, 40, 9, 2, 31]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def head(model):
    return shaken_head(model)


def encoded_by(model, head, memory, queries):
    with torch.no_grad():
        return head.encode(memory, queries, model.tables)


def a_row(anchor=3):
    """A slot of four positions, the second known, another slot, and a question of three options."""
    slot = slot_queries(anchor, 4, kind=2, names=(7, 8))
    slot[1] = query(anchor=anchor, offset=1, place=1, kind=2, names=(7, 8), token_id=12)
    options = [query(block=DECISIONS, kind=17, anchor=1, index=n, names=(n + 1,)) for n in range(3)]
    return [*slot, *slot_queries(anchor + 1, 2, is_fed=False, index=1), *options]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_a_head(layout):
    model = small_model(layout)
    head = shaken_head(model)
    memory, _ = read_by(model, head, TEXT)
    queries = Queries.of([a_row()])
    scores = scores_of(model, head, memory, queries)
    assert scores.logits_KV.shape == (9, 301)
    assert scores.pointers_KN.shape == (9, len(TEXT))
    assert scores.logits_KV.isfinite().all()


def test_a_base_of_another_layout_is_a_clear_error():
    config = GPTNeoXConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4
    )
    network = AutoModelForCausalLM.from_config(config)
    network.gpt_neox.layers = None
    with pytest.raises(UnsupportedModel, match="GPTNeoXForCausalLM: no decoder with `layers`"):
        DiffusionHead.for_base(Model.of(network, byte_tokenizer()))


def test_an_lm_head_with_a_bias_is_a_clear_error():
    model = small_model()
    model.base.model.lm_head = torch.nn.Linear(32, 300)
    with pytest.raises(UnsupportedModel, match="LM head without a bias"):
        DiffusionHead.for_base(model)


@pytest.mark.parametrize("sizes", [{"num_heads": 3}, {"head_dim": 5}, {"markov_rank": -1}], ids=str)
def test_sizes_that_make_no_head_are_a_clear_error(model, sizes):
    with pytest.raises(ModelError, match=next(iter(sizes))):
        DiffusionHead.for_base(model, **sizes)


def large_head():
    """SmolLM3-3B by its real sizes, without memory for its weights."""
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(SmolLM3Config(dtype="bfloat16"))
        model = Model.of(network, byte_tokenizer())
        return model, DiffusionHead.for_base(model).to(torch.bfloat16)


def test_the_head_of_smollm3_3b_has_its_shapes():
    model, head = large_head()
    assert head.config.taps == (7, 14, 22, 29, 36)
    assert head.config.base.vocab_size == 128_256
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    assert shapes["fuse.weight"] == (2048, 5 * 2048)
    assert shapes["layers.0.attention.q_proj.weight"] == (16 * 128, 2048)
    assert shapes["layers.2.attention.k_proj.weight"] == (4 * 128, 2048)
    assert shapes["layers.0.attention.q_norm.weight"] == (128,)
    assert shapes["out.weight"] == (2048, 2048)
    of_tokens = {name: shape for name, shape in shapes.items() if max(shape, default=1) >= 128_256}
    assert of_tokens == {  # one number a token, and never a vector
        "tool_guess.query_weights": (128_256,),
        "tool_guess.tool_weights": (128_256,),
    }
    assert sum(p.numel() for p in head.parameters()) < 0.06 * model.base.model.num_parameters()


def test_the_head_of_smollm3_3b_runs_at_its_shapes():
    model, head = large_head()
    ids_1N = torch.zeros(1, 20, dtype=torch.long, device="meta")
    taps = Taps(head.config.taps)
    with torch.no_grad(), taps.reading(model.base.model):
        model.base.model(input_ids=ids_1N, use_cache=True)
    assert taps.states_BTS().shape == (1, 20, 5 * 2048)
    lengths_1 = torch.tensor([20], device="meta")
    memory = head.remember(ids_1N, taps.states_BTS(), lengths_1)
    assert memory.keys[0].shape == (1, 4, 20, 128)
    encoded = head.encode(memory, Queries.of([a_row()], "meta"), model.tables)
    assert encoded.h_BQH.shape == (1, 9, 2048)
    rows = torch.zeros(6, dtype=torch.long, device="meta")
    at = Rows(rows, rows, torch.zeros(6, MAX_MATCH, dtype=torch.long, device="meta"))
    scores = head.scores(encoded, at, model.tables)
    assert scores.logits_KV.shape == (6, 128_257)
    assert scores.log_probs_KV().shape == (6, 128_257)
    assert head.decide(encoded).shape == (1, 9)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_may_be_switched_off(model, part):
    head = shaken_head(model, **{part: False})
    memory, _ = read_by(model, head, TEXT)
    scores = scores_of(model, head, memory, Queries.of([a_row()]))
    torch.testing.assert_close(scores.log_probs_KV().exp().sum(1), torch.ones(9))
    num, num_whole = (
        sum(p.numel() for p in one.parameters()) for one in (head, shaken_head(model))
    )
    assert num == num_whole if part == "has_template_states" else num < num_whole


def test_nothing_behind_what_is_remembered_is_read(model):
    """Without the template's states the memory ends with the prompt, while anchors still point into the template."""
    head = shaken_head(model, has_template_states=False)
    ids, states = random_seen(head, [9])[0]
    queries = Queries.of([a_row(7)])
    padded = head.remember(ids[None], states[None], torch.tensor([5]))
    cut = remembered(head, [(ids[:5], states[:5])])
    one, two = (scores_of(model, head, memory, queries) for memory in (padded, cut))
    torch.testing.assert_close(one.log_probs_KV(), two.log_probs_KV(), **CLOSE)


@pytest.mark.parametrize("part", [None, *PARTS])
def test_every_parameter_takes_part_in_the_scores(model, part):
    """Gradients of a parameter that is never used would stop training on several GPUs."""
    head = shaken_head(model, **({part: False} if part else {}))
    memory, _ = read_by(model, head, TEXT)
    queries = Queries.of([a_row()])
    encoded = head.encode(memory, queries, model.tables)
    scores = head.scores(encoded, all_rows(queries), model.tables)
    total = scores.log_probs_KV().sum() + scores.confidence_K.sum() + head.decide(encoded).sum()
    if head.config.has_tool_guess:
        tools_13M = torch.tensor([[[5, 1], [9, 3], [4, 4]]])
        guess_13 = head.tool_guess(torch.tensor([TEXT]), tools_13M, model.tables.embedding_VH)
        total = total + guess_13[0, 1]
    total.backward()
    assert [name for name, p in head.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_new_head_says_what_the_base_says_behind_the_anchor(layout):
    model = small_model(layout)
    head = new_head(model)
    memory, logits_NV = read_by(model, head, TEXT)
    for anchor in range(len(TEXT)):
        queries = Queries.of([slot_queries(anchor, 3)])
        logits_KV = scores_of(model, head, memory, queries).logits_KV
        torch.testing.assert_close(logits_KV[0, :-1], logits_NV[anchor].float(), **CLOSE)
        assert (logits_KV[1:, :-1] == 0).all()  # behind it nothing is known yet


def test_probabilities_sum_to_one(model, head):
    memory = remembered(head, random_seen(head, [9, 4]))
    scores = scores_of(model, head, memory, Queries.of([a_row(), a_row(1)]))
    torch.testing.assert_close(scores.log_probs_KV().exp().sum(1), torch.ones(18))
    torch.testing.assert_close(scores.pointers_KN.sum(1), torch.ones(18))
    assert ((scores.copy_K > 0) & (scores.copy_K < 1)).all()


def test_what_is_read_off_the_states_makes_the_scores(model, head):
    memory, queries = remembered(head, random_seen(head, [9, 4])), Queries.of([a_row(), a_row(1)])
    at = all_rows(queries)
    scores = scores_of(model, head, memory, queries, at)
    found = head.readings(head.encode(memory, queries, model.tables), at, model.tables)
    logits_KV = torch.cat([found.out_KD @ model.tables.lm_head_VH.T, found.null_K[:, None]], 1)
    tokens_KT = torch.randint(301, (18, 5), generator=torch.Generator().manual_seed(0))
    tokens_KT[:, 0], tokens_KT[:, 1] = 300, memory.ids_BN[0, 2]
    plain_KT = logits_KV.softmax(-1).gather(1, tokens_KT)
    torch.testing.assert_close(
        mixed(plain_KT, found.copied_at(tokens_KT), found.copy_K),
        scores.log_probs_KV().gather(1, tokens_KT),
        **CLOSE,
    )


def test_a_copied_token_gets_the_weight_of_all_places_where_it_stands(model, head):
    ((ids, states),) = random_seen(head, [6])
    ids = torch.tensor([7, 8, 7, 9, 7, 8])
    scores = scores_of(model, head, remembered(head, [(ids, states)]), Queries.of([a_row(1)]))
    copied = scores.pointers_KN[:, [0, 2, 4]].sum(1) * scores.copy_K
    plain = scores.logits_KV.softmax(-1)[:, 7] * (1 - scores.copy_K)
    torch.testing.assert_close(scores.log_probs_KV()[:, 7].exp(), copied + plain)


def test_an_impossible_token_still_has_a_gradient(model):
    """A base that is sure of itself may give NULL next to nothing, and has to be taught otherwise."""
    head = new_head(model, has_copy=False)
    with torch.no_grad():
        head.null.bias.fill_(-60.0)
    memory, _ = read_by(model, head, TEXT)
    scores = scores_of(model, head, memory, Queries.of([slot_queries(3, 1)]))
    (-scores.log_probs_KV()[0, 300]).backward()
    assert head.null.bias.grad < -0.9


def test_a_row_in_a_batch_is_computed_as_it_is_alone(model, head):
    rows = random_seen(head, [9, 4, 6])
    asked = [a_row(), slot_queries(2, 2), [*a_row(2), *slot_queries(5, 3, kind=4)]]
    batched = Queries.of(asked)
    at = all_rows(batched)
    together = encoded_by(model, head, remembered(head, rows), batched)
    scores = head.scores(together, at, model.tables)
    decisions_BQ = head.decide(together)
    for b, (row, queries) in enumerate(zip(rows, asked, strict=True)):
        one = encoded_by(model, head, remembered(head, [row]), Queries.of([queries]))
        mine = at.rows_K == b
        here = Rows(at.rows_K[mine] * 0, at.queries_K[mine], at.history_KM[mine])
        alone = head.scores(one, here, model.tables)
        torch.testing.assert_close(together.h_BQH[b, : len(queries)], one.h_BQH[0], **CLOSE)
        torch.testing.assert_close(scores.log_probs_KV()[mine], alone.log_probs_KV(), **CLOSE)
        torch.testing.assert_close(scores.confidence_K[mine], alone.confidence_K, **CLOSE)
        torch.testing.assert_close(decisions_BQ[b, : len(queries)], head.decide(one)[0], **CLOSE)


def test_blocks_do_not_see_each_other(model, head):
    memory = remembered(head, random_seen(head, [9]))
    row = a_row()
    changed = [q if q.block != DECISIONS else query(block=DECISIONS, anchor=8) for q in row]
    first = encoded_by(model, head, memory, Queries.of([row])).h_BQH[0]
    second = encoded_by(model, head, memory, Queries.of([changed])).h_BQH[0]
    torch.testing.assert_close(first[:6], second[:6], **CLOSE)
    assert (first[6:] - second[6:]).abs().min(0).values.max() > 1e-3


@pytest.mark.parametrize("moved", [0, 3])
def test_a_slot_is_read_from_both_sides(model, head, moved):
    memory = remembered(head, random_seen(head, [9]))
    row = slot_queries(3, 4)
    known = [
        *row[:moved],
        query(anchor=3, offset=moved, place=moved, token_id=77),
        *row[moved + 1 :],
    ]
    first = encoded_by(model, head, memory, Queries.of([row])).h_BQH[0]
    second = encoded_by(model, head, memory, Queries.of([known])).h_BQH[0]
    assert (first - second).abs().amax(1).min() > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 3},
        {"anchor": 5},
        {"offset": 2},
        {"place": 2},
        {"index": 2},
        {"is_fed": False},
        {"token_id": 3},
        {"names": (4,)},
    ],
    ids=str,
)
def test_everything_that_a_query_says_counts(model, head, change):
    memory = remembered(head, random_seen(head, [9]))
    first = encoded_by(model, head, memory, Queries.of([[query(anchor=3)]])).h_BQH
    second = encoded_by(model, head, memory, Queries.of([[query(**{"anchor": 3, **change})]])).h_BQH
    assert (first - second).abs().max() > 1e-3


def test_what_stands_before_in_the_slot_moves_the_scores(model, head):
    memory = remembered(head, random_seen(head, [9]))
    queries = Queries.of([slot_queries(3, 2)])
    encoded = encoded_by(model, head, memory, queries)
    at = [
        Rows(torch.tensor([0]), torch.tensor([1]), torch.tensor([history]))
        for history in ([NO_TOKEN] * 3, [4, NO_TOKEN, NO_TOKEN], [5, NO_TOKEN, NO_TOKEN])
    ]
    found = [head.scores(encoded, one, model.tables).logits_KV for one in at]
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert (found[1] - found[2]).abs().max() > 1e-3


def test_a_memory_in_two_parts_is_the_memory_of_the_whole(model, head):
    ids, states = random_seen(head, [9])[0]
    whole = remembered(head, [(ids, states)])
    behind = head.remember(ids[None, 5:], states[None, 5:], torch.tensor([4]), start=5)
    assert_same(remembered(head, [(ids[:5], states[:5])]).followed_by(behind), whole)


def test_a_memory_that_is_cut_is_the_memory_of_its_beginning(model, head):
    ids, states = random_seen(head, [9])[0]
    cut = remembered(head, [(ids, states)]).cut(5)
    assert cut.num_tokens == 5
    assert_same(cut, remembered(head, [(ids[:5], states[:5])]))


def test_a_memory_is_not_longer_for_being_cut_behind_its_end(head):
    memory = remembered(head, random_seen(head, [4]))
    assert_same(memory.cut(99), memory)


def assert_same(one, two):
    assert torch.equal(one.ids_BN, two.ids_BN)
    assert torch.equal(one.lengths_B, two.lengths_B)
    assert torch.equal(one.is_seen_BN, two.is_seen_BN)
    for name in ("fused_BNH", "final_BND", "copy_BNC"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), **CLOSE)
    for name in ("keys", "values"):
        for a, b in zip(getattr(one, name), getattr(two, name), strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


def num_matched(ids, at, history):
    """The number of tokens in front of `at` that equal the history's, from the last on."""
    num = 0
    while num < MAX_MATCH and at - num - 1 >= 0 and ids[at - num - 1] == history[num]:
        num += 1
    return num


@settings(max_examples=60)
@given(st.data())
def test_matches_are_counted_from_the_last_token_back(data):
    token = st.integers(0, 2)
    ids = data.draw(st.lists(token, min_size=1, max_size=8))
    history = data.draw(st.lists(token, max_size=MAX_MATCH))
    padded = history + [NO_TOKEN] * (MAX_MATCH - len(history))
    found = matched(torch.tensor([ids]), torch.tensor([padded]))[0].tolist()
    assert found == [num_matched(ids, at, padded) for at in range(len(ids))]


def test_a_new_head_that_copies_points_at_what_follows_the_longest_match(model):
    head = new_head(model)
    with torch.no_grad():
        head.copy_query.weight.zero_()
    ids, states = torch.tensor([1, 2, 3, 4, 9, 3, 6, 2, 3, 7]), random_seen(head, [10])[0][1]
    at = Rows(torch.tensor([0]), torch.tensor([0]), torch.tensor([[3, 2, 1]]))
    memory = remembered(head, [(ids, states)])
    scores = scores_of(model, head, memory, Queries.of([slot_queries(9, 1)]), at)
    assert int(scores.pointers_KN.argmax()) == 3  # behind 1 2 3


def gradients(model, head):
    memory, _ = read_by(model, head, TEXT)
    queries = Queries.of([a_row()])
    encoded = head.encode(memory, queries, model.tables)
    scores_of(model, head, memory, queries).log_probs_KV()[:, 7].sum().backward()
    return encoded.h_BQH.detach(), {
        n: p.grad for n, p in head.named_parameters() if p.grad is not None
    }


def test_checkpointing_changes_no_gradient(model):
    plain, saving = shaken_head(model).train(), shaken_head(model).train()
    saving.gradient_checkpointing_enable()
    one, wanted = gradients(model, plain)
    two, found = gradients(model, saving)
    assert torch.equal(one, two)
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, **CLOSE)


@pytest.mark.parametrize("part", [None, *PARTS])
def test_half_precision_runs_and_is_near(model, part):
    sizes = {part: False} if part else {}
    exact = shaken_head(model, **sizes)
    half = shaken_head(model, **sizes).to(torch.bfloat16)
    low = small_model()
    low.base.model.to(torch.bfloat16)
    queries = Queries.of([a_row()])
    wanted = scores_of(model, exact, read_by(model, exact, TEXT)[0], queries)
    found = scores_of(low, half, read_by(low, half, TEXT)[0], queries)
    assert found.logits_KV.dtype == torch.float32
    distance = (found.log_probs_KV().exp() - wanted.log_probs_KV().exp()).abs().sum(1) / 2
    assert distance.max() < 0.1


def test_a_head_in_float32_reads_a_base_in_half_precision(model, head):
    low = small_model()
    low.base.model.to(torch.bfloat16)
    memory = read_by(low, head, TEXT)[0]
    scores = scores_of(low, head, memory, Queries.of([a_row()]))
    assert scores.log_probs_KV().isfinite().all()


def test_autocast_runs(model, head):
    with torch.autocast("cpu", torch.bfloat16):
        memory = remembered(head, random_seen(head, [9, 4]))
        scores = scores_of(model, head, memory, Queries.of([a_row(), a_row(1)]))
    torch.testing.assert_close(scores.log_probs_KV().exp().sum(1), torch.ones(18))


def test_tables_have_a_row_for_each_of_some_things(model):
    def shapes(head):
        return sorted(tuple(p.shape) for p in head.table_parameters())

    plain = [(MAX_INDEX, 32), (len(KINDS), 32)]
    assert shapes(new_head(model, has_slot_positions=False, has_tool_guess=False)) == plain
    assert shapes(new_head(model, has_tool_guess=False)) == [*plain, (MAX_OFFSET, 32)]
    whole = new_head(model)
    assert shapes(whole) == [*plain, (MAX_OFFSET, 32), (300,), (300,)]
    own = {id(p) for p in whole.parameters()}
    assert all(id(p) in own for p in whole.table_parameters())


def test_rows_of_queries_are_padded_with_queries_of_no_block():
    queries = Queries.of([[query(names=(4, 5))], [], a_row()])
    assert queries.block_BQ.shape == (3, 9)
    assert (queries.block_BQ > 0).sum(1).tolist() == [1, 0, 9]
    assert queries.names_BQL[0, 0].tolist() == [4, 5] + [NO_TOKEN] * (MAX_NAME_TOKENS - 2)
    assert Queries.of([]).block_BQ.shape == (0, 1)


def test_far_places_and_items_count_as_the_last_ones(model, head):
    far = query(anchor=3, offset=MAX_OFFSET + 40, place=MAX_OFFSET + 40, index=MAX_INDEX + 40)
    queries = Queries.of([[far]])
    assert int(queries.offset_BQ.max()) == MAX_OFFSET - 1
    assert int(queries.index_BQ.max()) == MAX_INDEX - 1
    memory = remembered(head, random_seen(head, [9]))
    assert encoded_by(model, head, memory, queries).h_BQH.isfinite().all()


def test_no_position_at_all_is_no_error(model, head):
    memory = remembered(head, random_seen(head, [9, 4]))
    none = torch.zeros(0, dtype=torch.long)
    at = Rows(none, none, torch.zeros(0, MAX_MATCH, dtype=torch.long))
    scores = scores_of(model, head, memory, Queries.of([a_row(), a_row(1)]), at)
    assert scores.log_probs_KV().shape == (0, 301)
