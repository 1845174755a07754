"""What the tests of training share: recipes, rows, curves."""

from distill.config import FinetuneConfig
from tests.student.tiny import few_pairs

QUICK = {
    "batch_size": 4,
    "learning_rate": 5e-3,
    "epochs": 2,
    "evaluations": 2,
    "device": "cpu",
    "dtype": "float32",
}


def recipe_of(rows=8, width=64, **changes):
    """A recipe as the step derives it, for tiny models."""
    from distill.student.recipe import derive

    return derive(FinetuneConfig(**{**QUICK, **changes}), rows, width)


def rows_of(chat, count):
    from distill.student.encode import encode

    return encode(chat, few_pairs(count), 256)


def fitted(learner, rows, valid, recipe, **watch):
    """(what came of it, the records) of training in place."""
    from distill.student.fit import train
    from distill.student.session import Watch

    records = []
    return train(learner, rows, valid, recipe, Watch(record=records.append, **watch)), records


def curve(records, name="loss"):
    return [record[name] for record in records]


def weights_of(learner):
    import torch

    return torch.cat([parameter.detach().flatten() for parameter in learner.parameters])
