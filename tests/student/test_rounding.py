"""Where rounding decides: a short answer is what it is alone, and shortcuts are not given up for it."""

import copy
from dataclasses import replace

import pytest

from tests.student.test_answer import conversations, texts
from tests.student.tiny import byte_tokenizer, tiny_model

pytestmark = pytest.mark.slow
ROOM = 6


def noisy(model, scale=1.0, seed=0):
    """`model` under a LoRA of random matrices, as far from its start as a long training leaves it."""
    import torch

    from distill.student import lora

    wrapped = lora.attach(model, lora.LoraShape(8, 16), 0)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=scale)
    return wrapped


@pytest.fixture
def student():
    """A tiny student in bfloat16 with an adapter on it, many of whose next ids are as likely as another."""
    from distill.student.causal import CausalStudent, prepare
    from distill.student.chat import open_chat
    from distill.student.device import Device
    from distill.student.forward import open_net

    device = Device("cpu", "bfloat16", "CPU, bfloat16 (test)")
    model = prepare(tiny_model(), device)
    wrapped = noisy(model, 0.05)
    with device.autocast():
        net = open_net(model)
    assert net.shares_prefix
    return CausalStudent("tiny", net, open_chat(byte_tokenizer()), device, wrapped)


def generated(student, conversation):
    """What transformers' `generate` says to it, by itself, with peft's own layers."""
    import torch

    from distill.student.decode import stop_ids

    stops = stop_ids(student.net.model, student.chat)
    ids_BT = torch.tensor([student.chat.prompt(conversation)])
    with torch.inference_mode(), student.device.autocast():
        out = student.net.model.generate(
            input_ids=ids_BT,
            attention_mask=torch.ones_like(ids_BT),
            max_new_tokens=ROOM,
            do_sample=False,
            eos_token_id=sorted(stops),
            pad_token_id=student.chat.pad,
        )
    new = out[0, ids_BT.shape[1] :].tolist()
    end = next((place for place, token in enumerate(new) if token in stops), len(new))
    return student.chat.text(new[:end]).strip()


def without_adapter(student, conversation):
    with student.peft_model.disable_adapter():
        return generated(student, conversation)


def differing(said, alone):
    return {place for place, (text, other) in enumerate(zip(said, alone, strict=True)) if text != other}


@pytest.mark.parametrize("adapter", [True, False])
def test_an_answer_that_hung_on_rounding_is_what_generate_says_to_it_alone(student, monkeypatch, adapter):
    from distill.student import causal, decode

    asked, told = conversations(46), set()
    given = decode.alone

    def watched(decoding, row):
        told.add(tuple(decoding.prompts[row.index]))
        return given(decoding, row)

    student.net.model.set_attn_implementation("sdpa")
    alone = [(generated if adapter else without_adapter)(student, each) for each in asked]
    student = student if adapter else student.base()
    monkeypatch.setattr(decode, "alone", watched)
    anew = differing(texts(student, asked, 16, ROOM), alone)
    hung = {place for place, each in enumerate(asked) if tuple(student.chat.prompt(each)) in told}
    monkeypatch.setattr(causal, "SHORT", 0)
    as_they_were = differing(texts(student, asked, 16, ROOM), alone)
    # How many there are is the processor's: of those that hung, next to none differ any more.
    assert len(anew & hung) <= len(as_they_were & hung) / 4
    assert len(anew) < len(as_they_were)


def test_how_the_model_runs_is_put_back(student):
    asked = conversations(46)
    first = texts(student, asked, 16, ROOM)
    assert not [module for module in student.peft_model.modules() if "forward" in vars(module)]
    assert student.net.model.config._attn_implementation == "eager"
    assert texts(student, asked, 16, ROOM) == first
    assert texts(student.base(), asked, 16, ROOM) != first


def test_no_answer_is_given_twice_where_another_one_is_far(student, monkeypatch):
    """In float32 only what is equal to the last place hangs on rounding: nothing here."""
    from distill.student import decode

    def never(decoding, row):
        raise AssertionError(row)

    monkeypatch.setattr(decode, "alone", never)
    exact = replace(student, device=replace(student.device, dtype="float32"))
    exact.net.model.float()
    assert len(texts(exact, conversations(46), 16, ROOM)) == 46
    student.net.model.bfloat16()
    with pytest.raises(AssertionError):
        texts(student, conversations(46), 16, ROOM)


def test_the_last_place_is_that_of_the_arithmetic():
    import torch

    from distill.student.decode import hangs_on_rounding

    nothing = -torch.inf
    logits_BV = torch.tensor(
        [
            [38.0, 37.75, 0.0],  # one step of bfloat16 between 32 and 64
            [38.0, 37.5, 0.0],
            [3.0, 0.0, 2.985],  # 1/64 between 2 and 4
            [3.0, 0.0, 2.98],
            [-1.5, -1.5, -9.0],
            [38.0, nothing, nothing],  # the only choice there is
        ]
    )
    assert hangs_on_rounding(logits_BV, torch.bfloat16).tolist() == [True, False, True, False, True, False]
    assert hangs_on_rounding(logits_BV, torch.float32).tolist() == [False, False, False, False, True, False]


def test_layers_apart_are_pefts_to_the_last_bit(student):
    import torch

    from distill.student.merged import factors, in_force, merged, unmerged

    ids_BT = torch.arange(40).view(2, 20)
    with torch.inference_mode(), student.device.autocast():
        before = student.net.model(input_ids=ids_BT).logits
        with unmerged(factors(merged(student.peft_model))):
            assert torch.equal(student.net.model(input_ids=ids_BT).logits, before)
        with in_force(merged(student.peft_model)):
            assert not torch.equal(student.net.model(input_ids=ids_BT).logits, before)
        assert torch.equal(student.net.model(input_ids=ids_BT).logits, before)


@pytest.mark.parametrize(
    ("moved", "by_another_start", "shares"),
    [(0.01, 0.0, True), (0.05, 0.8, True), (0.05, 0.4, False), (0.5, 0.8, False), (1.0, 1.0, False)],
)
@pytest.mark.parametrize("rounds", [True, False])
def test_a_start_is_shared_where_it_moves_states_far_less_than_another_one(
    monkeypatch, moved, by_another_start, shares, rounds
):
    import torch

    from distill.student import forward

    whole = torch.arange(1.0, 97.0).view(2, 24, 2)
    seen = iter([whole, whole * (1 + by_another_start), whole[:, 12:] * (1 + moved)])
    monkeypatch.setattr(forward, "hidden", lambda net, ids_BT, prefix=0: next(seen))
    net = forward.Net(None, None, None, shares_prefix=False)
    in_float32 = moved == 0.01  # nothing but the rounding of float32 itself is let pass there
    known = shares if rounds else in_float32
    assert forward.may_share(net, torch.zeros(2, 24, dtype=torch.long), rounds=rounds) is known


def test_a_trial_is_of_ordinary_tokens_that_differ():
    from distill.student.forward import PROBE, trial_ids

    for words in (41, 164, 259, 32_000, 49_152, 151_936):
        ids = trial_ids(words, 3 * PROBE)
        assert len(set(ids)) == 3 * PROBE
        assert all(0 <= number < words for number in ids)
    ids = trial_ids(49_152, 3 * PROBE)
    assert min(ids) > 1000
    assert max(ids) - min(ids) > 49_152 / 4


def test_the_real_model_shares_its_start_however_far_an_adapter_takes_it(smollm2, monkeypatch):
    """Its states are 4% rounding then, where 2% once was all that was let pass."""
    from distill.student import forward
    from distill.student.causal import prepare
    from distill.student.device import Device

    device = Device("cpu", "bfloat16", "CPU, bfloat16 (test)")
    model = prepare(copy.deepcopy(smollm2[0]), device)
    noisy(model, 0.4)
    with device.autocast():
        assert forward.open_net(model).shares_prefix
        monkeypatch.setattr(forward, "NEARER", 0.01)
        assert not forward.open_net(model).shares_prefix


def test_labels_alone_are_chosen_as_they_are_alone(student, monkeypatch):
    from distill.student import causal, decode

    told, given = [], decode.alone

    def watched(decoding, row):
        told.append(row.index)
        return given(decoding, row)

    asked, labels = conversations(46), tuple(one + other for one in "abcdefghij" for other in "klmnopqrst")
    chosen = student.limited_to(labels)
    one_by_one = [texts(chosen, [each], 1)[0] for each in asked]
    monkeypatch.setattr(decode, "alone", watched)
    together = texts(chosen, asked, 16)
    assert set(together) <= set(labels)
    assert len(set(together)) > 1
    assert told
    monkeypatch.setattr(causal, "SHORT", 0)
    as_they_were = differing(texts(chosen, asked, 16), one_by_one)
    assert len(differing(together, one_by_one)) <= len(as_they_were)


def test_only_short_answers_on_a_cpu_are_given_anew(student, monkeypatch):
    from distill.student import causal, decode

    told = []
    monkeypatch.setattr(decode, "alone", lambda decoding, row: told.append(len(row.ids)) or row)
    asked = conversations(46)
    texts(student, asked, 16, 12)
    assert max(told) == 12
    monkeypatch.setattr(causal, "SHORT", 11)
    told.clear()
    texts(student, asked, 16, 12)
    assert max(told, default=0) < 12
    monkeypatch.setattr(causal, "SHORT", 16)
    elsewhere = decode.Going(0, [1, 2], 0.0, unsure=2)
    told.clear()
    on_a_gpu = replace(student, device=replace(student.device, name="cuda"))
    assert on_a_gpu._by_itself(None, elsewhere) is elsewhere
    assert not told


def test_what_fails_alone_leaves_the_model_as_it_was(student, monkeypatch):
    from distill.errors import DeviceError
    from distill.student import decode

    def full(decoding, row):
        raise MemoryError

    monkeypatch.setattr(decode, "alone", full)
    with pytest.raises(DeviceError, match="out of memory"):
        texts(student, conversations(46), 16, ROOM)
    assert not [module for module in student.peft_model.modules() if "forward" in vars(module)]
    assert student.net.model.config._attn_implementation == "eager"
