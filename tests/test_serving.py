"""From raw ids and histories to ranked raw ids, by a model whose scores are known, and saved and
read again."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from recsweep.data.feature_files import feature_table
from recsweep.data.interactions import IdMap, Interactions, Pairs, Part
from recsweep.errors import ConfigError, DataError, SavedModelError
from recsweep.evaluation import top_k
from recsweep.models.base import FitOptions
from recsweep.models.knn import KNN
from recsweep.models.popularity import Popularity
from recsweep.serving.service import (
    NOTHING_LIKED,
    UNKNOWN_USER,
    Query,
    RecommenderService,
    service_of,
)
from tests.models.conftest import build

USERS, ITEMS = np.array([10, 20, 30, 40]), np.array([101, 102, 103, 104, 105, 106])
LIKES = {10: [101, 102], 20: [101, 103], 30: [101, 102, 104], 40: []}


class Fixed:
    """Scores that are known: 10 u + i for users, and of histories the index of the first item plus
    0.1 i."""

    label = "fixed"

    def score(self, users):
        return (10 * users[:, None] + np.arange(6)[None, :]).astype(np.float32)

    def score_histories(self, histories):
        first = histories.indices[histories.indptr[:-1]]
        return (first[:, None] + 0.1 * np.arange(6)[None, :]).astype(np.float32)


class WithoutHistories:
    label = "plain"
    score = Fixed.score


def _interactions(user_ids=USERS, item_ids=ITEMS) -> Interactions:
    pairs = [
        (user, list(ITEMS).index(item))
        for user, raw in enumerate(USERS)
        for item in LIKES[int(raw)]
    ]
    users, items = np.array(pairs).T
    return Interactions("small", users, items, IdMap(user_ids, "user"), IdMap(item_ids, "item"))


@pytest.fixture
def service() -> RecommenderService:
    return service_of(Fixed(), _interactions())


class TestAKnownUser:
    def test_best_unseen_items_first(self, service):
        (answer,) = service.recommend([Query(20, k=3)])
        assert answer.item_ids == [106, 105, 104]
        assert answer.scores == [15, 14, 13]
        assert answer.fallback is None

    def test_ids_are_plain_numbers_and_may_be_asked_for_as_text(self, service):
        one, other = service.recommend([Query(20, k=2), Query("20", k=2)])
        assert one == other
        assert [type(item) for item in one.item_ids] == [int, int]

    def test_text_ids_stay_text(self):
        interactions = _interactions(np.array(["a", "b", "c", "d"]), np.array(list("ABCDEF")))
        (answer,) = service_of(Fixed(), interactions).recommend([Query("b", k=2)])
        assert answer.item_ids == ["F", "E"]

    def test_fewer_where_fewer_are_left(self, service):
        (answer,) = service.recommend([Query(30, k=6)])
        assert answer.item_ids == [106, 105, 103]

    def test_a_history_is_left_out_as_seen_and_changes_no_score(self, service):
        (answer,) = service.recommend([Query(20, history=[106, "104", 7], k=3)])
        assert answer.item_ids == [105, 102]
        assert answer.scores == [14, 11]
        assert answer.unknown_items == (7,)
        assert answer.fallback is None


class TestKnownZeros:
    """User 20 likes 101 and 103 and rated 106 low; user 40 rated 101 and 104 low."""

    @pytest.fixture
    def service(self, tmp_path) -> RecommenderService:
        zeros = Pairs(np.array([1, 3, 3]), np.array([5, 0, 3]))
        model = Popularity(scale_by_activity=False)
        data = replace(_interactions(), zeros=zeros)
        ones = np.ones(len(data))
        model.fit(Part(data.users, data.items, ones, 4, 6, enumerates_cells=False))
        service_of(model, data).save(tmp_path)
        return RecommenderService.load(tmp_path)

    @pytest.mark.parametrize(
        ("query", "items"),
        [
            (Query(20, k=6), [102, 104, 105]),
            (Query(20, history=["102"], k=6), [104, 105]),
            (Query(40, k=6), [102, 103, 105, 106]),
            (Query(40, history=["102"], k=6), [103, 105, 106]),
            (Query("nobody", k=6), [101, 102, 103, 104, 105, 106]),
        ],
        ids=["liked and low", "and a history", "low alone", "low and a history", "unknown"],
    )
    def test_what_was_rated_low_is_not_recommended(self, service, query, items):
        alone, *_ = service.recommend([query, Query(10, k=2), Query("nobody", ["101"], 2)])
        assert alone.item_ids == items

    def test_nor_counts_for_popularity(self, service):
        assert service.popularity.tolist() == [0.75, 0.5, 0.25, 0.25, 0, 0]

    def test_nor_stands_in_the_lists_of_many(self, service):
        ((items, *_),) = service.rank_users([20, 40], 6)
        assert [service.item_ids.ids[row[row >= 0]].tolist() for row in items] == [
            [102, 104, 105],
            [102, 103, 105, 106],
        ]


@pytest.fixture(scope="module")
def featured(tmp_path_factory) -> RecommenderService:
    """A net that has learnt from features: users 10 and 20 are young and like 101 and 102, users 30
    and 40 old and like 105 and 106; 60 and 70 were held out, and of 70 nothing is known."""
    likes = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 4), (2, 5), (3, 4), (3, 5), (4, 0)]
    users, items = np.array(likes).T
    ids = IdMap(np.array([10, 20, 30, 40, 60, 70]), "user"), IdMap(ITEMS, "item")
    rows = {"id": [*map(str, ids[0].ids[:5])], "age": [*"yyoo", "o"], "zip": [*"aabb", "a"]}
    table = feature_table(rows, ids[0], source="users")
    data = Interactions("small", users, items, *ids, user_features=table)
    ones = np.ones(8)
    train = Part(users[:8], items[:8], ones, 6, 6, enumerates_cells=False)
    settings = "optimizer.lr=0.05", "trainer.max_epochs=60", "trainer.batch_size=16"
    model = build("fm", "model.dim=8", *settings)
    model.fit(train, FitOptions(user_features=table))
    folder = tmp_path_factory.mktemp("features")
    service_of(model, data, train).save(folder)
    return RecommenderService.load(folder)


class TestFeatures:
    @pytest.fixture
    def service(self, featured) -> RecommenderService:
        return featured

    def test_somebody_new_is_ranked_by_them(self, service):
        young, old, both = service.recommend(
            [
                Query(features={"age": "y", "zip": "a"}, k=2),
                Query("nobody", features={"age": "o"}, k=2),
                Query(history=["105"], features={"age": "o"}, k=1),
            ]
        )
        assert set(young.item_ids) == {101, 102}
        assert set(old.item_ids) == {105, 106}
        assert both.item_ids == [106]
        assert young.fallback is old.fallback is both.fallback is None

    def test_one_by_one_as_together(self, service):
        queries = [
            Query(features={"age": "y"}, k=6),
            Query(history=["105"], k=6),
            Query(history=["101"], features={"zip": "b"}, k=6),
            Query(60, k=6),
        ]
        together = service.recommend(queries)
        for query, answer in zip(queries, together, strict=True):
            (alone,) = service.recommend([query])
            assert alone.item_ids == answer.item_ids
            np.testing.assert_allclose(alone.scores, answer.scores, atol=1e-5)

    def test_who_was_held_out_has_those_of_the_data(self, service):
        (answer,) = service.recommend([Query(60, features={"age": "o", "zip": "a"}, k=5)])
        assert service.recommend([Query(60, k=5)]) == [answer]
        assert answer.held_out
        ((items, _, fallbacks),) = service.rank_users([60, 70], 5)
        assert service.item_ids.ids[items[0]].tolist() == answer.item_ids
        assert fallbacks == [None, NOTHING_LIKED]

    def test_of_a_known_user_they_change_nothing(self, service):
        (known,) = service.recommend([Query(10, k=4)])
        assert service.recommend([Query(10, features={"age": "o"}, k=4)]) == [known]

    def test_values_that_nobody_has_say_nothing(self, service):
        (answer,) = service.recommend([Query(features={"age": "x", "zip": None}, k=3)])
        assert answer.fallback == "popularity: no value of the features is known"

    def test_other_columns_are_refused(self, service):
        with pytest.raises(DataError, match=r"no feature agee of users\. Did you mean age"):
            service.recommend([Query(features={"agee": "y"}, k=1)])

    def test_of_a_model_without_they_are_refused(self, service):
        service = replace(service, model=Popularity(scale_by_activity=False))
        with pytest.raises(DataError, match="popularity has learnt from no features of users"):
            service.check(Query(features={"age": "y"}, k=1))


class TestSomebodyNew:
    @pytest.mark.parametrize("user", [None, 99, "nobody"])
    def test_is_ranked_by_the_history(self, service, user):
        (answer,) = service.recommend([Query(user, history=["103", 105, 103], k=6)])
        assert answer.item_ids == [106, 104, 102, 101]
        assert answer.scores == pytest.approx([2.5, 2.3, 2.1, 2.0])
        assert answer.fallback is None

    def test_unknown_items_are_skipped_and_named_once(self, service):
        (answer,) = service.recommend([Query(history=[1, "x", 103, 1], k=1)])
        assert answer.item_ids == [106]
        assert answer.unknown_items == (1, "x")

    def test_an_unknown_user_gets_the_most_popular(self, service):
        (answer,) = service.recommend([Query("nobody", k=4)])
        assert answer.item_ids == [101, 102, 103, 104]
        assert answer.scores == [0.75, 0.5, 0.25, 0.25]
        assert answer.fallback == UNKNOWN_USER

    @pytest.mark.parametrize(
        ("history", "why"), [([], "the history is empty"), ([7, 8], "no item .* is known")]
    )
    def test_a_history_without_a_known_item_gets_the_most_popular(self, service, history, why):
        (answer,) = service.recommend([Query(history=history, k=2)])
        assert answer.item_ids == [101, 102]
        assert answer.unknown_items == tuple(history)
        assert re.fullmatch(f"popularity: {why}", answer.fallback)

    def test_a_model_that_ranks_no_histories_says_so(self):
        (answer,) = service_of(WithoutHistories(), _interactions()).recommend(
            [Query(history=[101], k=2)]
        )
        assert answer.item_ids == [102, 103]
        assert answer.fallback == "popularity: plain can't rank by a history"


class TestAUserWhoWasHeldOut:
    """User 20 likes 101 and 103, and only 10 and 30 were trained."""

    @staticmethod
    def _service(model) -> RecommenderService:
        data = _interactions()
        chosen = data.users != 1
        users, items, targets = data.users[chosen], data.items[chosen], np.ones(chosen.sum())
        train = Part(users, items, targets, 4, 6, enumerates_cells=False)
        return service_of(model, data, train)

    def test_is_ranked_by_what_is_known(self):
        held_out, history = self._service(Fixed()).recommend(
            [Query(20, k=6), Query(history=[101, 103], k=6)]
        )
        assert held_out.item_ids == history.item_ids == [106, 105, 104, 102]
        assert held_out.scores == history.scores
        assert (held_out.held_out, history.held_out) == (True, False)

    def test_a_history_adds_to_it(self):
        held_out, history = self._service(Fixed()).recommend(
            [Query(20, history=[105, 7], k=6), Query(history=[101, 103, 105], k=6)]
        )
        assert held_out.item_ids == history.item_ids
        assert held_out.unknown_items == (7,)

    def test_is_told_where_the_model_ranks_no_histories(self):
        service = self._service(WithoutHistories())
        (answer,) = service.recommend([Query(20, k=2)])
        assert answer.item_ids == [102, 104]
        assert answer.fallback == (
            "popularity: the user was held out of training, and plain can't rank by a history"
        )
        ((items, _, fallbacks),) = service.rank_users([20], 2)
        assert ITEMS[items[0]].tolist() == answer.item_ids
        assert fallbacks == [answer.fallback]

    def test_who_likes_nothing_is_told_so(self):
        (answer,) = self._service(Fixed()).recommend([Query(40, k=2)])
        assert (answer.item_ids, answer.fallback) == ([101, 102], NOTHING_LIKED)


class TestManyAtOnce:
    QUERIES = (
        Query(10, k=2),
        Query("nobody", k=1),
        Query(history=[103], k=3),
        Query(40, k=6),
        Query(20, [106], k=1),
    )

    def test_the_order_is_that_of_the_queries(self, service):
        alone = [service.recommend([query])[0] for query in self.QUERIES]
        assert service.recommend(self.QUERIES) == alone
        assert [len(each.item_ids) for each in alone] == [2, 1, 3, 6, 1]

    def test_in_chunks_as_all_together(self, service, monkeypatch):
        together = service.recommend(self.QUERIES * 3)
        monkeypatch.setattr("recsweep.serving.service.SCORES_AT_ONCE", 12)
        assert service.rows_at_once == 2
        assert service.recommend(self.QUERIES * 3) == together

    def test_none_at_all(self, service):
        assert service.recommend([]) == []

    def test_arrays_of_many_users(self, service, monkeypatch):
        monkeypatch.setattr("recsweep.serving.service.SCORES_AT_ONCE", 12)
        asked = [10, "nobody", 20, 30, 40]
        chunks = list(service.rank_users(asked, 4))
        assert [len(fallbacks) for _, _, fallbacks in chunks] == [2, 2, 1]
        items, scores, fallbacks = (np.concatenate(each) for each in zip(*chunks, strict=True))
        assert fallbacks.tolist() == [None, UNKNOWN_USER, None, None, NOTHING_LIKED]
        for row, user in enumerate(asked):
            (answer,) = service.recommend([Query(user, k=4)])
            left = items[row] >= 0
            assert ITEMS[items[row][left]].tolist() == answer.item_ids
            assert scores[row][left].tolist() == answer.scores


class TestRefusals:
    @pytest.mark.parametrize("k", [0, -1, 1.5, True, "3", None])
    def test_k_that_is_no_length(self, service, k):
        with pytest.raises(ConfigError, match="k must be a whole number of at least 1"):
            service.recommend([Query(10, k=k)])

    def test_k_beyond_the_catalogue(self, service):
        assert len(service.recommend([Query(40, k=6)])[0].item_ids) == 6
        with pytest.raises(ConfigError, match=r"k must be at most 6, .*, not 7"):
            service.recommend([Query(10, k=7)])
        with pytest.raises(ConfigError, match="k must be at most 6"):
            next(service.rank_users([10], 7))

    def test_neither_user_nor_history(self, service):
        with pytest.raises(DataError, match="needs a user_id, or a history"):
            service.recommend([Query(k=1)])


class TestSavedAndRead:
    @pytest.fixture
    def saved(self, tmp_path):
        interactions = _interactions()
        targets = np.ones(len(interactions))
        train = Part(interactions.users, interactions.items, targets, 4, 6, enumerates_cells=False)
        model = KNN(by="item", num_neighbors=3)
        model.fit(train)
        service = service_of(model, interactions)
        service.save(tmp_path)
        return service, tmp_path

    def test_it_answers_as_before(self, saved):
        service, folder = saved
        loaded = RecommenderService.load(folder)
        queries = [Query(10), Query("20"), Query(history=[101, 102]), Query("nobody"), Query(40)]
        queries = [Query(each.user_id, each.history, 6) for each in queries]
        assert loaded.recommend(queries) == service.recommend(queries)

    def test_titles_and_features_are_kept(self, saved, tmp_path):
        service, _ = saved
        countries = {"user": ["10", "20", "30"], "age": ["20.5", "30.5", "70.5"]}
        genres = {"id": ["101", "102", "106"], "genre": ["war|drama", "war", "drama"]}
        data = replace(
            _interactions(),
            item_titles={"101": "Toy Story", "106": "Café"},
            user_features=feature_table(countries, IdMap(USERS, "user"), source="users.csv"),
            item_features=feature_table(genres, IdMap(ITEMS, "item"), source="items.csv"),
        )
        chosen = data.users < 2
        train = Part(data.users[chosen], data.items[chosen], np.ones(chosen.sum()), 4, 6, False)
        service_of(service.model, data, train).save(tmp_path / "model")
        loaded = RecommenderService.load(tmp_path / "model")
        (answer,) = loaded.recommend([Query("nobody", k=6)])
        assert answer.titles == ["Toy Story", None, None, None, None, "Café"]
        assert loaded.user_features.fields[0].edges == (20.5,)  # 30 was not trained on
        assert loaded.item_features.digest == data.item_features.digest
        assert loaded.item_features.encode([{"genre": "drama"}]).toarray().tolist() == [[1, 0]]
        names = {path.name for path in (tmp_path / "model").iterdir()}
        assert {"features.json", "features.safetensors"} < names

    @pytest.mark.parametrize("name", ["features.json", "features.safetensors", "catalogue.json"])
    def test_features_and_titles_that_do_not_fit(self, saved, name):
        service, folder = saved
        ages = {"user": ["10", "20", "30"], "age": ["20.5", "30.5", "70.5"]}
        table = feature_table(ages, IdMap(USERS, "user"), source="users.csv")
        replace(service, user_features=table, item_titles={"101": "Toy Story"}).save(folder)
        path = folder / name
        if name == "features.safetensors":
            arrays = load_file(path)
            save_file({**arrays, "user_numbers": arrays["user_numbers"][1:]}, path)
        else:
            content = json.loads(path.read_text())
            if name == "features.json":
                del content["user"]["fields"][0]["edges"]
            else:
                content["item_titles"][0] = 7
            path.write_text(json.dumps(content))
        with pytest.raises(SavedModelError, match="is not whole"):
            RecommenderService.load(folder)

    def test_whoever_may_read_the_folder_may_read_the_arrays(self, saved):
        service, folder = saved
        folder.chmod(0o755)
        service.save(folder)
        for path in folder.glob("*.safetensors"):
            assert path.stat().st_mode & 0o777 == 0o644

    def test_nothing_but_json_and_arrays(self, saved):
        _, folder = saved
        names = {path.name for path in folder.iterdir()}
        assert names == {"arrays.safetensors", "catalogue.json", "model.json", "seen.safetensors"}
        for path in folder.glob("*.json"):
            json.loads(path.read_text())

    @pytest.mark.parametrize(
        "name", ["catalogue.json", "seen.safetensors", "arrays.safetensors", "model.json"]
    )
    @pytest.mark.parametrize("damage", ["missing", "truncated"])
    def test_a_damaged_file_is_said_in_words(self, saved, name, damage):
        _, folder = saved
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        if damage == "truncated":
            (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(SavedModelError, match=r"not whole|truncated|No saved model"):
            RecommenderService.load(folder)

    @pytest.mark.parametrize("name", ["catalogue.json", "model.json"])
    def test_json_nested_too_deeply_is_said_in_words(self, saved, name):
        _, folder = saved
        (folder / name).write_text("[" * 200_000 + "]" * 200_000)
        with pytest.raises(SavedModelError, match=r"(not whole|truncated).*recursion") as error:
            RecommenderService.load(folder)
        assert len(str(error.value)) < 500

    def test_users_that_do_not_fit(self, saved):
        _, folder = saved
        arrays = load_file(folder / "seen.safetensors")
        save_file(arrays | {"trained": arrays["trained"][1:]}, folder / "seen.safetensors")
        with pytest.raises(SavedModelError, match="is not whole: it was trained on 3 users of 4"):
            RecommenderService.load(folder)

    @pytest.mark.parametrize("change", [{"indices": 6}, {"indices": -1}, {"indptr": 10**6}])
    def test_seen_items_outside_the_catalogue(self, saved, change):
        _, folder = saved
        arrays = load_file(folder / "seen.safetensors")
        for name, value in change.items():
            arrays[name][-1] = value
        save_file(arrays, folder / "seen.safetensors")
        with pytest.raises(SavedModelError, match="is not whole"):
            RecommenderService.load(folder)


def test_service_and_evaluation_share_one_top_k():
    interactions = _interactions()
    model = Popularity(scale_by_activity=False)
    targets = np.ones(len(interactions))
    model.fit(Part(interactions.users, interactions.items, targets, 4, 6, enumerates_cells=False))
    service = service_of(model, interactions)
    seen = csr_matrix((targets, (interactions.users, interactions.items)), (4, 6))
    items, _ = top_k(model.score(np.arange(4)), 3, seen)
    answers = service.recommend([Query(int(user), k=3) for user in USERS])
    assert [each.item_ids for each in answers] == [ITEMS[row[row >= 0]].tolist() for row in items]
