"""The commands. Bodies open the parts, hand them to a step and show what it left; all else is below.

It refuses to import anything heavy before a command runs: `distill --help` must stay instant.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from distill import __version__
from distill.config import (
    DATA_KNOBS,
    CompareConfig,
    ExploreConfig,
    ExportConfig,
    FailuresConfig,
    FinetuneConfig,
    GenerateConfig,
    ImportConfig,
    ReviewConfig,
    SpendConfig,
    SuspectsConfig,
    TeacherConfig,
)
from distill.leaving import guarded
from distill.options import options


class Context:
    """What the global flags say."""

    def __init__(
        self,
        run_name: str | None,
        runs_dir: Path,
        as_json: bool,
        quiet: bool,
        debug: bool,
        no_input: bool = False,
    ) -> None:
        self.run_name, self.runs_dir, self.debug = run_name, runs_dir, debug
        self.as_json, self.quiet, self.no_input = as_json, quiet, no_input


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--run", "run_name", metavar="NAME", help="The run to work on; default the last one used.")
@click.option(
    "--runs-dir",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs lie.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of tables.")
@click.option("-q", "--quiet", is_flag=True, help="Only results and errors.")
@click.option("--no-input", is_flag=True, help="Never ask: what has to ask is an error.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="distill")
@click.pass_context
def cli(
    context: click.Context,
    run_name: str | None,
    runs_dir: Path,
    as_json: bool,
    quiet: bool,
    debug: bool,
    no_input: bool,
) -> None:
    """Turn one task a large LLM does about OK into a small model you own.

    \b
    distill explore "customer support for a small bank"   find tasks, score the teacher on each
    distill pick 2                                        take one, or: pick --task my-task.toml
    distill generate --n 1000                             1000 accepted pairs, filtered and split
    distill finetune                                      LoRA on a small student
    distill compare --gold my-labels.jsonl                can the student replace the teacher?

    No API key? Every command works offline with the embedded model: --teacher local --student local.
    """
    context.obj = Context(run_name, runs_dir, as_json, quiet, debug, no_input)


@cli.command()
@click.argument("brief", default="")
@click.option("--show", default="", metavar="N", help="Show task N (or its name): prompts, probes, answers.")
@click.option(
    "--sort",
    type=click.Choice(["distillability", "score", "cost", "volume"]),
    help="What the table is sorted by; default distillability for logs, else score.",
)
@click.option("--no-excerpts", is_flag=True, help="Show no input and no free answer anywhere.")
@options(ExploreConfig, TeacherConfig, SpendConfig)
@click.pass_obj
def explore(
    context: Context, /, brief: str, show: str, sort: str | None, no_excerpts: bool, **given: Any
) -> None:
    """Find tasks for BRIEF (or in logs) and see how well the teacher does each."""
    from distill.workflow import present, refuse_unfinished
    from distill.workflow_explore import Looking, explore

    summary, shown = explore(context, brief, given, looking=Looking(show, sort, no_excerpts))
    present(context, (summary, shown))
    refuse_unfinished(summary)


@cli.command()
@click.argument("which", default="")
@click.option(
    "--task",
    "task_file",
    type=click.Path(path_type=Path),
    help="Take this task.toml instead of an explored one.",
)
@click.pass_obj
def pick(context: Context, /, which: str, task_file: Path | None) -> None:
    """Take task WHICH (number or name) of explore's table, or --task FILE, as this run's task.toml."""
    from distill.workflow import pick, present

    present(context, pick(context, which, task_file))


@cli.command()
@options(GenerateConfig, TeacherConfig, SpendConfig)
@click.pass_obj
def generate(context: Context, /, **given: Any) -> None:
    """Get N accepted input/answer pairs from the teacher, filtered and split."""
    from distill.refining import refill
    from distill.workflow import generate, present

    present(context, (refill if given["from_failures"] else generate)(context, given))


@cli.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@options(ImportConfig)
@click.pass_obj
def import_(context: Context, /, file: Path, **given: Any) -> None:
    """Add your own pairs to the run: FILE is JSONL, JSON, CSV, Parquet or a datasets folder."""
    from distill.workflow import present
    from distill.workflow_data import import_file

    present(context, import_file(context, file, given))


@cli.command("export-data")
@options(ExportConfig)
@click.pass_obj
def export_data(context: Context, /, **given: Any) -> None:
    """Write the pairs as a dataset with its card; --push sends it to the Hugging Face Hub."""
    from distill.workflow import present
    from distill.workflow_data import export_data

    present(context, export_data(context, given))


@cli.command()
@options(FinetuneConfig)
@click.pass_obj
def finetune(context: Context, /, **given: Any) -> None:
    """Train a small student on the pairs with LoRA; exit 3 where its answers do not end by themselves."""
    from distill.workflow import finetune, present, stop_gate

    summary, shown = finetune(context, given)
    present(context, (summary, shown))
    stop_gate(summary)


@cli.command("inspect-data")
@click.option("--n", type=click.IntRange(0), default=3, show_default=True, help="Rows to print.")
@options(FinetuneConfig, only=DATA_KNOBS)
@click.pass_obj
def inspect_data(context: Context, /, n: int, **given: Any) -> None:
    """Show what finetune would train, token by token, and check every row; exit 2 where one is unfit."""
    from distill.workflow import present
    from distill.workflow_data import inspect_data, refuse_unfit

    summary, shown = inspect_data(context, n, given)
    present(context, (summary, shown))
    refuse_unfit(summary)


@cli.command()
@options(CompareConfig, TeacherConfig, SpendConfig)
@click.pass_obj
def compare(context: Context, /, **given: Any) -> None:
    """Score student, base and teacher on the same rows; exit 3 unless the student may replace the teacher."""
    from distill.workflow import compare, gate, present

    summary, shown = compare(context, given)
    present(context, (summary, shown))
    gate(summary)


@cli.command()
@click.option("--dropped", metavar="REASON", help="Only rows dropped for this reason.")
@click.option("--kept", is_flag=True, help="Only rows that were kept.")
@click.option("--diff", "changed", is_flag=True, help="Only rows whose answer changed, with what changed.")
@click.option("--grep", "text", default="", metavar="TEXT", help="Only rows that hold TEXT, case aside.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows to show at most.")
@click.pass_obj
def rows(context: Context, /, **wanted: Any) -> None:
    """Read the candidates: each with its verdict and the reason. Works while generate is running."""
    from distill.reviewing import rows
    from distill.steps.rows import Wanted
    from distill.workflow import present

    present(context, rows(context, Wanted(**wanted)))


@cli.command()
@click.option("--n", type=click.IntRange(1), default=20, show_default=True, help="Rows to look at, in all.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Which rows are picked.")
@click.option("--split", type=click.Choice(["train", "valid", "test"]), help="Only rows of this split.")
@click.pass_obj
def audit(context: Context, /, n: int, seed: int, split: Any) -> None:
    """Judge a sample of the kept rows (y / n / edit): how many are wrong? Corrections go to all rows."""
    from distill.reviewing import audit
    from distill.workflow import present

    present(context, audit(context, n, seed, split))


@cli.command()
@options(SuspectsConfig, TeacherConfig, SpendConfig)
@click.pass_obj
def suspects(context: Context, /, **given: Any) -> None:
    """Training pairs whose answer is likely wrong; --reask has the teacher vote, --apply corrects them."""
    from distill.workflow import present
    from distill.workflow_suspects import suspects

    present(context, suspects(context, given))


@cli.command()
@options(ReviewConfig)
@click.pass_obj
def review(context: Context, /, **given: Any) -> None:
    """Which answer is better? Blind pairs from compare (a / b / t / s / u / q); corrects the judge."""
    from distill.refining import review
    from distill.workflow import present

    present(context, review(context, given))


@cli.command()
@options(FailuresConfig, TeacherConfig, SpendConfig)
@click.pass_obj
def failures(context: Context, /, **given: Any) -> None:
    """What the student gets wrong, clustered and named; generate --from-failures refills those."""
    from distill.refining import failures
    from distill.workflow import present

    present(context, failures(context, given))


@cli.command()
@click.pass_obj
def filters(context: Context, /) -> None:
    """What drops a row: each filter, what it looks at, and whether it is on for this run's task."""
    from distill.reviewing import filters
    from distill.workflow import present

    present(context, filters(context))


@cli.command()
@click.pass_obj
def status(context: Context, /) -> None:
    """Where this run stands, what each step cost, what to type next."""
    from distill.workflow import present, status

    present(context, status(context))


@cli.command()
@click.argument("brief", default="")
@click.option("--pick", "which", default="1", show_default=True, help="Which explored task to take.")
@options(ExploreConfig, GenerateConfig, FinetuneConfig, CompareConfig, TeacherConfig, SpendConfig)
@click.pass_obj
def run(context: Context, /, brief: str, which: str, **given: Any) -> None:
    """All steps, one after the other: explore BRIEF (or --task FILE), pick, generate, finetune, compare.

    --budget is what all steps may cost together.
    """
    from distill.workflow import run_all

    run_all(context, brief, which, given)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error leaves with its exit code, a traceback only with --debug."""
    work = partial(cli.main, args=arguments, prog_name="distill", standalone_mode=False)
    sys.exit(guarded(work, arguments))


if __name__ == "__main__":
    main()
