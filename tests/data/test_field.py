"""Real files as people have them, read by their path alone or with one setting more, hold what
independent code (csv, split, pandas) counted in them.

`python tests/data/test_field.py` prints the table, as the notes show it.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recsweep.data.readers import InteractionFile

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Real:
    """A file in the folder of real data, what it holds, and the settings it needs beside its path.

    Attributes:
        rows: All rows that a reader sees, those that it leaves out too.
    """

    path: str
    rows: int
    users: int
    items: int
    positives: int
    settings: dict[str, Any] = field(default_factory=dict)

    def reader(self, folder: Path) -> InteractionFile:
        return InteractionFile(name="field", path=str(folder / self.path), **self.settings)

    @property
    def id(self) -> str:
        return " ".join([self.path, *(f"{key}={value}" for key, value in self.settings.items())])


FILES = (
    Real("field/lastfm_user_artists.dat", 92_834, 1_892, 17_632, 92_834),
    Real("field/amazonbook_lightgcn_test.txt", 603_378, 52_639, 82_629, 603_378),
    Real("field/sasrec_Video.txt", 287_107, 31_013, 23_715, 287_107),
    Real("field/jester.csv", 460_124, 73_421, 10, 94_447, {"positive_rating": 5}),
    Real("field/pinterest-20.test.rating", 55_187, 55_187, 8_614, 55_187),
    Real("field/ratings.csv.zip", 100_836, 610, 9_724, 48_580),
    Real("field/movielens_small.parquet", 100_836, 610, 9_724, 48_580),
    # 2,000 wholly empty rows of a spreadsheet follow the 9,000
    Real("field/book_crossing_cr.csv", 11_000, 727, 8_520, 1_535),
    Real("field/user_item_matrix_small.csv", 47_530, 100, 500, 17_481),
    Real("field/yelp_train_stars.csv", 24_580, 3_730, 420, 16_260),
    # of a pair the latest row, which may be a return: its quantity is below 0
    Real("field/online_retail.csv", 20_000, 756, 2_226, 17_557),
    Real("field/online_retail.csv", 20_000, 756, 2_226, 17_923, {"rating_column": None}),
    Real("field/spark_parts", 9_477, 217, 419, 197, {"rating_column": "y"}),
    Real("ledger/ncf_ml1m/train.csv.gz", 994_169, 6_040, 3_704, 994_169),
    Real("ledger/ncf_ml1m/test.csv", 6_040, 6_040, 1_921, 6_040),
    Real("ledger/gowalla/train.csv.gz", 810_128, 29_858, 40_981, 810_128),
    Real("ledger/gowalla/test.csv.gz", 217_242, 29_858, 38_546, 217_242),
    Real("ledger/citeulike_a/train.csv", 199_435, 5_551, 16_972, 199_435),
    Real("ledger/citeulike_a/test.csv", 5_551, 5_551, 4_391, 5_551),
    Real("ledger/ml-1m/ratings.csv.gz", 1_000_209, 6_040, 3_706, 575_281),
    Real("ml-100k/u.data", 100_000, 943, 1_682, 55_375),
    Real("foodcom_dense.csv.gz", 209_399, 3_565, 5_610, 195_860),
    Real("foodcom_raw_sample.csv.gz", 13_247, 6_303, 5_395, 11_137),
    Real("foodcom_interactions_validation.csv.gz", 7_023, 7_023, 6_621, 5_900),
    Real("foodcom_interactions_test.csv.gz", 12_455, 12_455, 11_695, 10_393),
)


def test_no_file_needs_more_than_one_setting() -> None:
    assert all(len(real.settings) <= 1 for real in FILES)


@pytest.mark.slow
@pytest.mark.parametrize("real", FILES, ids=[real.id for real in FILES])
def test_a_real_file_holds_what_others_counted(real: Real, real_data: Path) -> None:
    if not (real_data / real.path).exists():
        pytest.skip(f"{real_data} has no {real.path}")
    interactions = real.reader(real_data).load()
    left_out = dict(interactions.dropped)
    assert (
        len(interactions) + sum(left_out.values()),
        interactions.num_users,
        interactions.num_items,
        len(interactions),
    ) == (real.rows, real.users, real.items, real.positives), left_out


def print_table(folder: Path) -> None:
    print("| file | settings needed | rows | users | items | positives | left out |")
    print("|---|---|---|---|---|---|---|")
    for real in FILES:
        interactions = real.reader(folder).load()
        settings = " ".join(f"data.{key}={value}" for key, value in real.settings.items())
        left_out = ", ".join(f"{count:,} {why}" for why, count in interactions.dropped.items())
        print(
            f"| {real.path} | {settings.replace('None', 'null') or 'none'} | {real.rows:,} | "
            f"{interactions.num_users:,} | {interactions.num_items:,} | {len(interactions):,} | "
            f"{left_out} |"
        )


if __name__ == "__main__":
    print_table(Path(os.environ.get("RECSWEEP_DATA") or REPOSITORY.parent / "shared" / "data"))
