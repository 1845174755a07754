"""Ours: the session and engine that `distill finetune` runs, at their defaults, on the same rows."""

from tuning import ALPHA, BATCH, FIRST, RANK, RATE, SEED, Clock, arguments, fill, read

asked = arguments()

import torch  # noqa: E402 - as in trl_sft.py

from distill.config import FinetuneConfig  # noqa: E402
from distill.student import causal, fit, guard, lora, speed  # noqa: E402
from distill.student.chat import open_chat  # noqa: E402
from distill.student.device import pick  # noqa: E402
from distill.student.encode import IGNORED, Row  # noqa: E402
from distill.student.faster import faster  # noqa: E402
from distill.student.forward import choose_attention, open_net  # noqa: E402
from distill.student.loop import Learner  # noqa: E402
from distill.student.recipe import derive  # noqa: E402
from distill.student.session import Session, Watch  # noqa: E402
from distill.weights import student_weights  # noqa: E402

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm_", "aten::addmm"),
    "attention's products and softmax": ("aten::bmm", "aten::_softmax", "aten::masked_fill_"),
    "optimiser": ("aten::_fused_adamw_",),
}


def row_of(record: dict) -> Row:
    """The row whose ids and labels these are: one answer."""
    trained = [at for at, label in enumerate(record["labels"]) if label != IGNORED]
    return Row(record["id"], tuple(record["input_ids"]), ((trained[0], trained[-1] + 1),))


def profiled(batches: list) -> dict[str, float]:
    """Shares of the time of a training pass over `batches`, by kind of operation."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for batch in batches:
            passes.step_loss(learner, batch)
    times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    whole = sum(times.values())
    shares = {kind: sum(times.get(key, 0.0) for key in keys) / whole for kind, keys in KINDS.items()}
    operations = sum(time for key, time in times.items() if key.startswith("aten::")) / whole
    shares["other operations (norms, activations, casts, copies)"] = operations - sum(shares.values())
    shares["calling them (Python, autograd)"] = 1 - operations
    return {kind: round(share, 3) for kind, share in shares.items()}


records, clock = read(asked.rows), Clock()
weights, device = student_weights(asked.student), pick("cpu", asked.dtype)
model, tokenizer = causal.load(weights, device)
rows = [row_of(record) for record in records]
assert all(row.labels == record["labels"] for row, record in zip(rows, records, strict=True))
config = FinetuneConfig(
    student=asked.student, batch_size=BATCH, learning_rate=RATE, epochs=1.0, lora_rank=RANK, seed=SEED
)
recipe = derive(config, len(rows), model.config.hidden_size)
assert recipe.lora.alpha == ALPHA
wrapped = lora.attach(model, recipe.lora, SEED)
choose_attention(model, max(len(row.ids) for row in rows))
with device.autocast():
    net = open_net(model)
learner = Learner(net, lora.trainable(wrapped), open_chat(tokenizer).pad, device, wrapped)
fill(wrapped)
passes = guard.passes_for(learner, rows, None, lambda text: None)
losses: list[float] = []
flops: list[float] = []
count = speed.flops_of(net)
with faster(learner), torch.no_grad(), device.autocast():
    first = learner.loss(net, rows[:FIRST], learner.pad).item() / sum(
        row.target_tokens for row in rows[:FIRST]
    )


def step(record: dict) -> None:
    clock.end()
    losses.append(record["loss"])


if asked.steps:
    watch = Watch(record=step)
    session = Session(learner, rows, [], recipe, watch, passes)
    batches = list(session.batches())[: asked.steps]
    clock.tokens = [sum(len(row.ids) for row in batch) for batch in batches]
    with faster(learner):
        flops = [count(batch) for batch in batches]
    fit.run(session)
more = {}
if asked.steps:
    steps = len(clock.ends)
    whole = sum(sum(count([row]) for row in batch) for batch in batches[1:steps])
    more = {"executed_flops": sum(flops[1:steps]), "plain_flops": whole}
if asked.profile:
    with faster(learner):
        passes.step_loss(learner, rows[:BATCH])
        more["profile"] = profiled([rows[:BATCH], rows[BATCH : 2 * BATCH]])
clock.report(asked.out, first_loss=first, losses=losses, **more)
