"""Training, whichever engine runs it. Refuses reports that the engine asked for cannot send."""

from collections.abc import Sequence

from distill.student import reports
from distill.student.encode import Row
from distill.student.faster import faster
from distill.student.guard import Passes
from distill.student.loop import Learner, train_loop
from distill.student.recipe import Recipe
from distill.student.session import Session, Trained, Watch


def train(
    learner: Learner,
    rows: Sequence[Row],
    valid: Sequence[Row],
    recipe: Recipe,
    watch: Watch | None = None,
    passes: Passes | None = None,
) -> Trained:
    """Train in place; the best weights by validation (the last, without `valid`) are in when it returns.

    Takes up the watch's checkpoint where it is of this very run; whoever has saved the weights removes it.
    Raises DistillError where a number is not finite, DeviceError where a row does not fit, Interrupted.
    """
    passes = passes or Passes(rows=recipe.config.micro_batch)
    session = Session(learner, rows, valid, recipe, watch or Watch(), passes)
    run(session)
    return session.finish()


def run(session: Session) -> None:
    """The steps that are left, by the engine that was asked for, in the fastest way. Raises as `train`."""
    if session.is_over:
        return
    with faster(session.learner):
        by_engine(session)


def by_engine(session: Session) -> None:
    """The same, in the way that the model is set to."""
    reports.check(session.recipe.config)
    if session.recipe.config.engine == "trainer":
        from distill.student import trainer

        trainer.run(session)
        return
    train_loop(
        session.learner,
        session.batches(),
        session.optimizer,
        session.scheduler,
        session.backward,
        session.stepped,
    )
