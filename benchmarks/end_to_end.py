"""A hundred million interactions from their files to a logged model: the main path, stage by stage.

    python benchmarks/end_to_end.py [--millions 1] [--threads 2] [overrides of the config]
    python benchmarks/end_to_end.py --millions 100 evaluation.validation_users=1000

The table is that of reading.py, made the first time. One epoch of a net with embeddings, sampled
negatives and lazy_adam; each epoch is evaluated on a sample of users, the kept one on all. Each
stage prints its seconds, its CPU seconds, and the most memory that the process held meanwhile: of
its own, and with the pages of the mapped files, which the system may take back at any time.
"""

import argparse
import tempfile
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from large import step
from reading import made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=int, choices=(1, 20, 100), default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "recsweep_benchmark"
    )
    parser.add_argument("overrides", nargs="*", help="of the config, as model=recipe_net")
    options = parser.parse_args()
    paths = made(options.folder, options.millions)
    # a process of its own: making the table counts for no peak
    process = get_context("spawn").Process(target=measure, args=(options, paths))
    process.start()
    process.join()
    raise SystemExit(process.exitcode)


def measure(options: argparse.Namespace, paths: list[Path]) -> None:
    import torch

    from recsweep.config import composed
    from recsweep.models.base import fit_many
    from recsweep.run.plan import plan, prepare
    from recsweep.run.record import conclude, log_settings, start_run
    from recsweep.run.watch import Watch
    from recsweep.tracking import open_runs

    torch.set_num_threads(options.threads)
    cfg = composed(
        [
            "data=file",
            f"data.path=[{','.join(map(str, paths))}]",
            "data.positive_rating=4",
            "split=leave_last_out",
            "model=mf",
            "examples=sampled",
            "optimizer=lazy_adam",
            "trainer=large_batches",
            "trainer.batch_size=4096",
            "trainer.max_epochs=1",
            *options.overrides,
        ]
    )
    print(f"{options.millions} million rows, {paths[0].suffix[1:]}, {len(paths)} files")
    print(f"{'':44}{'seconds':>9}{'CPU':>8}{'own GB':>9}{'all GB':>9}")
    planned = plan(cfg)
    with step("files to a split"):
        data = prepare(planned.data_plan)
    with open_runs([partial(start_run, planned, data)]) as (run,):
        watch = Watch(run, planned, data)
        log_settings(watch)
        with step("training, and evaluation on a sample"):
            (fit,) = fit_many([planned.model], data.split.train, [watch.options])
        with step("evaluation on all, artifacts, the model"):
            outcome = conclude(watch, fit)
    if fit.error is not None or outcome.fit.error is not None:
        raise fit.error or outcome.fit.error
    known, split = data.interactions, data.split
    print(
        f"{len(known):,} positives, {known.num_users:,} users, {known.num_items:,} items, "
        f"{len(split.validation.users):,} of them in validation; {planned.model.label}"
    )
    print(f"NDCG@10 {outcome.metrics['validation/ndcg_at_10']:.4f}")


if __name__ == "__main__":
    main()
