"""Lists that are chosen from given or drawn candidates: sets, ties, and whom they depend on."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsweep.data.interactions import IdMap, Interactions, Split
from recsweep.data.readers import InteractionFile
from recsweep.data.split import Given, PerUserRatio, split_by
from recsweep.errors import ConfigError, DataError
from recsweep.evaluation import CAUTION, candidates_in_words, check_candidates, evaluate
from recsweep.evaluation.candidates import candidates_of_users
from tests.test_evaluation import TableModel, positives_of, protocol

SHAPE = (2, 6)
GIVEN = csr_matrix([[1, 1, 0, 1, 1, 0], [0, 0, 1, 1, 0, 1]], dtype=bool)
"""User 0 is given 0 (trained on), 1 (validation), 3 and 4 (test); user 1 is given 2, 3 and 5."""

SPLIT = Split(
    train=positives_of([(0, 0), (1, 0)], SHAPE),
    validation=positives_of([(0, 1)], SHAPE),
    test=positives_of([(0, 4), (1, 1)], SHAPE),
    kind="given",
    seed=None,
    candidates=GIVEN,
)


def sets(split: Split, part: str, **changes) -> list[list[int]]:
    users = np.arange(split.num_users)
    found = candidates_of_users(protocol(**changes), split, part, users)
    return [sorted(found.indices[start:end]) for start, end in itertools.pairwise(found.indptr)]


def random_split(seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((40, 30)) < 0.3)
    names = [IdMap(np.arange(size), kind) for size, kind in ((40, "user"), (30, "item"))]
    data = Interactions("toy", *pairs.T, *names, candidates=(rng.random((40, 30)) < 0.4).nonzero())
    return split_by(PerUserRatio(validation=0.2, test=0.2, seed=0), data)


class TestGiven:
    def test_are_a_set_without_earlier_positives(self):
        """The test positive of user 0 is among those given and counts once; that of user 1 is
        not."""
        assert sets(SPLIT, "test", candidates="given") == [[3, 4], [1, 2, 3, 5]]
        assert sets(SPLIT, "validation", candidates="given")[0] == [1, 3, 4]

    def test_what_a_held_out_user_gave_is_no_candidate(self):
        split = replace(SPLIT, histories=positives_of([(1, 3)], SHAPE))
        assert sets(split, "test", candidates="given")[1] == [1, 2, 5]

    @pytest.mark.parametrize(
        ("scores", "ranks"),
        [
            (
                [[9, 9, 9, 0, 1, 9], [9, 1, 0, 0, 9, 0]],
                (1, 1),
            ),  # what is no candidate may be higher
            ([[0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 1]], (2, 3)),  # ties are against the positive
            ([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], (2, 4)),
            ([[0, 0, 0, 2, 1, 0], [0, 0, 1, 2, 0, 3]], (2, 4)),
        ],
    )
    def test_ranks_by_hand(self, scores, ranks):
        report = evaluate(
            TableModel(scores), SPLIT, "test", protocol=protocol(candidates="given", k=[1, 4])
        )
        assert report.per_user["mrr_at_4"].tolist() == pytest.approx([1 / rank for rank in ranks])
        assert report.per_user["hit_rate_at_1"].tolist() == [rank == 1 for rank in ranks]

    def test_several_positives_share_a_list(self):
        """Scores 3, 2, 2, 1 of a negative, a positive, a negative and a positive: of equal ones the
        positive comes last, so they stand at 3 and 4."""
        split = replace(
            SPLIT,
            test=positives_of([(0, 2), (0, 4)], SHAPE),
            candidates=csr_matrix([[0, 0, 0, 1, 0, 1], [0] * 6], dtype=bool),
        )
        model = TableModel([[0, 0, 2, 3, 1, 2], [0] * 6])
        report = evaluate(model, split, "test", protocol=protocol(candidates="given", k=[3, 4]))
        assert report.metrics["recall_at_3"] == 0.5
        assert report.metrics["recall_at_4"] == 1
        assert report.metrics["map_at_4"] == pytest.approx((1 / 3 + 2 / 4) / 2)

    @pytest.mark.parametrize("part", ["validation", "test"])
    def test_numbering_is_of_no_account(self, part):
        split, rng = random_split(), np.random.default_rng(1)
        table = rng.integers(0, 4, (40, 30)).astype(float)  # many ties
        users, items = rng.permutation(40), rng.permutation(30)

        def renumbered(name: str):
            known = getattr(split, name)
            pairs = zip(users[known.users].tolist(), items[known.items].tolist(), strict=True)
            return positives_of(list(pairs), (40, 30))

        moved = Split(
            *(renumbered(name) for name in ("train", "validation", "test")),
            kind="given",
            seed=None,
            candidates=split.candidates[np.argsort(users)][:, np.argsort(items)],
        )
        settings = protocol(candidates="given", k=[1, 3, 10])
        one = evaluate(TableModel(table), split, part, protocol=settings)
        other = evaluate(
            TableModel(table[np.argsort(users)][:, np.argsort(items)]),
            moved,
            part,
            protocol=settings,
        )
        for name in ("ndcg_at_10", "recall_at_3", "map_at_10", "mrr_at_10", "hit_rate_at_1"):
            assert one.metrics[name] == pytest.approx(other.metrics[name])

    def test_a_user_without_them_is_named(self):
        split = replace(SPLIT, candidates=csr_matrix([[0, 1, 0, 0, 0, 0], [0] * 6], dtype=bool))
        with pytest.raises(DataError, match=r"test part, and 1 of 2 have none .* user index 1\."):
            evaluate(
                TableModel(np.zeros(SHAPE)), split, "test", protocol=protocol(candidates="given")
            )
        ids = IdMap(np.array(["ann", "bob"]), "user")
        with pytest.raises(DataError, match="the first of them user bob"):
            check_candidates(protocol(candidates="given"), split, ["test"], ids)

    def test_a_split_without_any_names_the_setting(self):
        with pytest.raises(ConfigError, match=r"Set data\.candidates_path"):
            evaluate(
                TableModel(np.zeros(SHAPE)),
                replace(SPLIT, candidates=None),
                protocol=protocol(candidates="given"),
            )


class TestSampled:
    def test_hold_no_positive_of_any_part_but_those_asked_for(self):
        split = random_split()
        for part in ("validation", "test"):
            asked = getattr(split, part).positives.toarray() > 0
            known = sum(
                getattr(split, name).positives.toarray() for name in ("train", "validation", "test")
            )
            drawn = sets(split, part, candidates="sampled", num_candidates=5)
            for user, items in enumerate(drawn):
                assert set(np.flatnonzero(asked[user])) <= set(items)
                others = set(items) - set(np.flatnonzero(asked[user]))
                assert len(others) == 5
                assert others.isdisjoint(np.flatnonzero(known[user]))

    def test_are_drawn_uniformly(self):
        counts = np.zeros(6)
        for seed in range(600):
            (items, _) = sets(
                SPLIT, "test", candidates="sampled", num_candidates=1, candidates_seed=seed
            )
            counts[items] += 1
        assert counts[[0, 1]].tolist() == [0, 0]
        assert counts[4] == 600
        assert counts[[2, 3, 5]] == pytest.approx(200, abs=45)

    def test_hang_on_seed_part_and_user_alone(self):
        split = random_split()
        settings = protocol(candidates="sampled", num_candidates=4)
        together = candidates_of_users(settings, split, "test", np.arange(40)).toarray()
        alone = candidates_of_users(settings, split, "test", np.array([7])).toarray()
        np.testing.assert_array_equal(together[7], alone[0])
        reports = [
            evaluate(
                TableModel(np.random.default_rng(3).random((40, 30))),
                split,
                "test",
                protocol=replace(settings, batch_users=size),
            )
            for size in (1, 7, 256)
        ]
        assert reports[0].to_dict() == reports[1].to_dict() == reports[2].to_dict()
        other = candidates_of_users(
            replace(settings, candidates_seed=1), split, "test", np.arange(40)
        )
        assert (other.toarray() != together).any()

    def test_more_than_there_are_is_an_error(self):
        settings = protocol(candidates="sampled", num_candidates=4)
        with pytest.raises(ConfigError, match=r"num_candidates=4 can't .* has 3 of them"):
            evaluate(TableModel(np.zeros(SHAPE)), SPLIT, "test", protocol=settings)


@pytest.mark.parametrize("candidates", ["given", "sampled"])
def test_a_report_says_so_and_warns(candidates):
    settings = protocol(candidates=candidates, num_candidates=2)
    report = evaluate(TableModel(np.zeros(SHAPE)), SPLIT, "test", protocol=settings)
    assert report.protocol["caution"] == CAUTION
    words = candidates_in_words(settings.tag_of(SPLIT))
    assert report.protocol["candidates"] == words
    assert "2 items drawn" in words if candidates == "sampled" else "given" in words


class TestFile:
    def read(self, folder: Path, candidates: str, **settings) -> Interactions:
        (folder / "likes.csv").write_text("who,what\n" + "7,a\n7,b\n8,a\n9,c\n9,d\n")
        (folder / "test.csv").write_text("who,what\n7,c\n8,d\n9,a\n")
        path = folder / "candidates.csv"
        path.write_text(candidates)
        return InteractionFile(
            path=str(folder / "likes.csv"),
            test_path=str(folder / "test.csv"),
            candidates_path=str(path),
            user_column="who",
            item_column="what",
            **settings,
        ).load()

    def pairs(self, data: Interactions) -> list[tuple[int, str]]:
        users, items = data.candidates
        raw = zip(data.user_ids.ids[users].tolist(), data.item_ids.ids[items], strict=True)
        return sorted((user, str(item)) for user, item in raw)

    @pytest.mark.parametrize(
        "text",
        [
            "who,what\n7,d\n9,b\n7,d\n",
            "what,who,note\nd,7,x\nb,9,y\n",  # columns of the data, wherever they stand
            "member;film\n7;d\n9;b\n",  # else the first two
        ],
    )
    def test_columns_are_those_of_the_data_or_the_first_two(self, tmp_path, text):
        assert self.pairs(self.read(tmp_path, text)) == [(7, "d"), (9, "b")]

    def test_what_the_data_lacks_is_left_out_and_counted(self, tmp_path):
        data = self.read(tmp_path, "who,what\n7,d\n7,zzz\n99,a\n")
        assert self.pairs(data) == [(7, "d")]
        assert data.dropped == {"of candidates whose user or item the data lacks": 2}

    def test_they_make_other_data_in_any_order(self, tmp_path):
        texts = ("who,what\n7,d\n9,b\n", "who,what\n9,b\n7,d\n", "who,what\n7,d\n")
        first, second, third = (self.read(tmp_path, text).digest for text in texts)
        assert first == second != third
        assert first != replace(self.read(tmp_path, texts[0]), candidates=None).digest

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("who,what\n70,d\n", "no candidate among the 3 users and 4 items"),
            ("who\n7\n", "one column"),
            ("", r"Set data\.candidates_path"),
            ("who,what\n", "no candidate among"),
        ],
    )
    def test_a_file_of_no_use_is_refused(self, tmp_path, text, said):
        with pytest.raises(DataError, match=said):
            self.read(tmp_path, text)

    def test_a_split_has_them(self, tmp_path):
        split = split_by(Given(validation=0.5, seed=0), self.read(tmp_path, "who,what\n7,d\n9,b\n"))
        assert split.candidates.toarray().astype(int).tolist() == [
            [0, 0, 0, 1],
            [0, 0, 0, 0],
            [0, 1, 0, 0],
        ]
