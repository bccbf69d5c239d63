"""What every model of conf/model must do. A new YAML is tested without writing a test."""

import json
import pickletools
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from recsweep.data.interactions import IdMap, Interactions, Part
from recsweep.errors import NotFittedError, SavedModelError
from recsweep.evaluation import top_k
from recsweep.measures.of_cells import rank_cells, roc_auc
from recsweep.models.base import (
    EpochDecision,
    FitOptions,
    Folds,
    FoldsItems,
    Recommender,
    Role,
    fit_many,
)
from recsweep.models.saved import load_model
from recsweep.serving.service import Query, RecommenderService, service_of

from .conftest import MODELS, build, part, tastes

EVERYONE = np.arange(40)
PAIRS = tuple(np.array(index) for index in zip(*product(range(40), range(30)), strict=True))

pytestmark = pytest.mark.parametrize("name", MODELS)


def test_satisfies_the_protocol_and_names_itself(name: str) -> None:
    model = build(name)
    offered = {name for name in vars(Recommender) if not name.startswith("_")}
    assert offered <= set(dir(type(model)))
    assert hasattr(type(model), "restore")
    assert model.label.strip()
    assert "\n" not in model.label


def test_says_what_it_is(name: str, train: Part) -> None:
    model = build(name)
    assert model.kind.strip()
    assert "\n" not in model.kind
    assert model.role in get_args(Role)
    assert model.is_random in (False, True)
    assert model.loss_name is None or model.loss_name.strip()
    assert isinstance(model, Folds)
    fit = model.fit(train)
    assert fit.epochs <= (model.max_epochs or 1)
    assert bool(fit.train_losses) == (model.max_epochs is not None)
    assert isinstance(model.details, str)
    if model.calibration is not None:
        assert model.calibration.fitted_on == "train"


@pytest.mark.parametrize("ask", ["predict", "score", "save", "num_parameters"])
def test_says_before_fit_that_it_has_learnt_nothing(name: str, ask: str, folder: Path) -> None:
    model = build(name)
    asks = {
        "predict": lambda: model.predict(*PAIRS),
        "score": lambda: model.score(EVERYONE),
        "save": lambda: model.save(folder),
        "num_parameters": lambda: model.num_parameters,
    }
    with pytest.raises(NotFittedError, match="call fit, or load"):
        asks[ask]()


def test_answers_in_the_right_shapes_and_ranges(name: str, train: Part) -> None:
    model = build(name)
    model.fit(train)
    probabilities = model.predict(*PAIRS)
    assert (probabilities.shape, probabilities.dtype) == ((1200,), np.float32)
    assert np.all((probabilities >= 0) & (probabilities <= 1))
    scores = model.score(EVERYONE)
    assert (scores.shape, scores.dtype) == ((40, 30), np.float32)
    assert np.all(np.isfinite(scores))
    assert model.predict(PAIRS[0][:0], PAIRS[1][:0]).shape == (0,)
    assert model.num_parameters > 0


def test_scores_of_some_users_are_those_users_rows(name: str, train: Part) -> None:
    model = build(name)
    model.fit(train)
    some = np.array([7, 0, 39])
    np.testing.assert_allclose(model.score(some), model.score(EVERYONE)[some], atol=1e-6)


def test_probabilities_and_scores_order_a_users_items_alike(name: str, train: Part) -> None:
    model = build(name)
    model.fit(train)
    probabilities, scores = model.predict(*PAIRS).reshape(40, 30), model.score(EVERYONE)
    for user in range(40):
        steps = np.diff(probabilities[user][np.argsort(scores[user], kind="stable")])
        assert steps.min() >= -1e-6  # clipping makes ties, never another order


def test_learns_more_than_chance(name: str) -> None:
    matrix = tastes(80, 60)
    matrix[:, :10] |= (
        np.random.default_rng(2).random((80, 10)) < 0.6
    )  # some items are liked by most
    model = build(name, "trainer.max_epochs=10")
    model.fit(part(matrix, np.ones(matrix.shape, bool)))
    assert roc_auc(rank_cells(matrix.ravel(), model.score(np.arange(80)).ravel())) > 0.6


def test_ranks_unseen_items_when_asked(name: str, train: Part) -> None:
    model = build(name)
    model.fit(train)
    items, _ = top_k(model.score(EVERYONE), 30, train.positives)
    for user in range(40):
        assert not set(items[user]) & set(train.positives[user].indices)


def test_answers_for_users_and_items_without_training_data(name: str, train: Part) -> None:
    model = build(name)
    model.fit(train)
    assert np.all(np.isfinite(model.score(np.array([39]))))
    assert np.all(np.isfinite(model.predict(np.full(30, 39), np.arange(30))))
    assert np.all(np.isfinite(model.predict(np.arange(40), np.full(40, 29))))


def test_scores_histories_of_people_it_does_not_know(name: str, train: Part) -> None:
    model = build(name)
    model.fit(train)
    histories = csr_matrix(
        ([1.0, 1.0, 1.0], ([0, 0, 1], [2, 4, 3])), shape=(3, 30), dtype=np.float32
    )
    scores = model.score_histories(histories)  # the third history is empty
    assert scores.shape == (3, 30)
    assert np.all(np.isfinite(scores))


@pytest.mark.parametrize("saved_by", ["this version", "an earlier version"])
def test_ranks_a_user_it_was_not_trained_on_by_what_they_like(
    name: str, saved_by: str, train: Part, folder: Path
) -> None:
    model = build(name)
    model.fit(train)
    positives = train.positives.tocoo()
    users, items = np.append(positives.row, [39] * 4), np.append(positives.col, [2, 4, 8, 10])
    ids = IdMap(np.arange(40), "user"), IdMap(np.arange(30), "item")
    data = Interactions("some", users, items, *ids)
    service_of(model, data, train).save(folder)
    if saved_by == "an earlier version":
        seen = load_file(folder / "seen.safetensors")
        del seen["trained"]
        save_file(seen, folder / "seen.safetensors")
    service = RecommenderService.load(folder)
    queries = [Query(39, k=20), Query(history=[10, 8, 4, 2], k=20), Query(0, k=20)]
    held_out, history, trained = service.recommend(queries)
    assert held_out.item_ids == history.item_ids
    assert held_out.fallback is None
    np.testing.assert_allclose(held_out.scores, history.scores, atol=1e-6)
    expected = top_k(model.score(np.array([0])), 20, train.positives[[0]])[0][0]
    assert trained.item_ids == expected[expected >= 0].tolist()
    for items, _, fallbacks in service.rank_users([39, "0"], 20):
        assert [row[row >= 0].tolist() for row in items] == [held_out.item_ids, trained.item_ids]
        assert fallbacks == [None, None]


def test_scores_new_items_where_it_can(name: str, train: Part) -> None:
    model = build(name)
    model.fit(train)
    if not isinstance(model, FoldsItems):
        assert name in (
            "knn",
            "item_knn",
            "ease",
            "rp3beta",
            "p3alpha",
            "multi_vae",
        )  # these score a new item like any without positives
        return
    liked_by = csr_matrix(
        ([1.0, 1.0, 1.0, -1.0], ([0, 0, 1, 1], [2, 4, 3, 5])), shape=(3, 40), dtype=np.float32
    )
    scores = model.score_new_items(liked_by)  # nobody likes the third
    assert (scores.shape, scores.dtype) == ((3, 40), np.float32)
    assert np.all(np.isfinite(scores))
    if name.startswith("popularity"):
        np.testing.assert_allclose(scores[:, 0], [2 / 40, 1 / 40, 0])


def test_same_seed_same_scores_and_a_second_fit_starts_afresh(name: str, train: Part) -> None:
    once, twice = build(name), build(name)
    once.fit(train, FitOptions(seed=3))
    twice.fit(part(tastes(40, 30, seed=9)), FitOptions(seed=8))
    twice.fit(train, FitOptions(seed=3))
    np.testing.assert_array_equal(once.score(EVERYONE), twice.score(EVERYONE))


def test_saves_and_loads_the_same_model_without_pickle(
    name: str, train: Part, folder: Path
) -> None:
    model = build(name)
    model.fit(train)
    model.save(folder)
    loaded = load_model(folder)
    np.testing.assert_array_equal(loaded.score(EVERYONE), model.score(EVERYONE))
    np.testing.assert_array_equal(loaded.predict(*PAIRS), model.predict(*PAIRS))
    assert loaded.num_parameters == model.num_parameters
    assert loaded.label.split()[0] == model.label.split()[0]
    assert (loaded.kind, loaded.role) == (model.kind, model.role)
    assert isinstance(loaded, FoldsItems) is isinstance(model, FoldsItems)
    assert {path.name for path in folder.iterdir()} == {"model.json", "arrays.safetensors"}
    for path in folder.iterdir():
        with pytest.raises(
            ValueError,
            match=r"opcode|stack|not enough|exhausted|unknown|no newline|expected|invalid literal",
        ):
            list(pickletools.genops(path.read_bytes()))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What another process makes of each model: its scores, and those of the one saved here, in
    hexadecimal digits. One process for all: starting it takes longer than what it does."""
    folder = tmp_path_factory.mktemp("models")
    for name in MODELS:
        model = build(name)
        model.fit(part(tastes()), FitOptions(seed=5))
        model.save(folder / name)
    program = f"""
import json, sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
import numpy as np
from recsweep.models.base import FitOptions
from recsweep.models.saved import load_model
from tests.models.conftest import MODELS, build, part, tastes
scores = {{}}
for name in MODELS:
    model = build(name)
    model.fit(part(tastes()), FitOptions(seed=5))
    loaded = load_model(Path({str(folder)!r}) / name)
    scores[name] = [each.score(np.arange(40)).tobytes().hex() for each in (model, loaded)]
print(json.dumps(scores))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_another_process_fits_and_loads_the_same_scores(
    name: str, elsewhere: dict[str, list[str]]
) -> None:
    model = build(name)
    model.fit(part(tastes()), FitOptions(seed=5))
    assert elsewhere[name] == [model.score(EVERYONE).tobytes().hex()] * 2


def test_tells_each_epoch_and_obeys(name: str, train: Part) -> None:
    told = []

    def on_epoch(epoch: int, model: Recommender, train_loss: float | None) -> EpochDecision:
        told.append(epoch)
        assert model.score(EVERYONE).shape == (40, 30)
        assert train_loss is None or np.isfinite(train_loss)
        return EpochDecision(stop="enough" if epoch == 3 else None, keep=epoch == 1)

    model = build(name, "trainer.max_epochs=5")
    fit = model.fit(train, FitOptions(on_epoch=on_epoch))
    assert told == list(range(1, fit.epochs + 1))
    assert fit.epochs <= 3
    assert fit.kept_epoch == 1
    assert fit.stopped == ("enough" if fit.epochs == 3 else None)
    assert fit.error is None


def test_an_error_in_the_hook_is_this_members_outcome(name: str, train: Part) -> None:
    def broken(*_: object) -> EpochDecision:
        raise RuntimeError("the hook broke")

    good, bad = build(name), build(name)
    fits = fit_many([good, bad], train, [FitOptions(), FitOptions(on_epoch=broken)])
    assert fits[0].error is None
    assert str(fits[1].error) == "the hook broke"
    with pytest.raises(RuntimeError, match="the hook broke"):
        build(name).fit(train, FitOptions(on_epoch=broken))
    alone = build(name)
    alone.fit(train)
    np.testing.assert_array_equal(good.score(EVERYONE), alone.score(EVERYONE))


def test_refuses_truncated_foreign_and_newer_files(name: str, train: Part, folder: Path) -> None:
    model = build(name)
    model.fit(train)
    model.save(folder)
    header, arrays = folder / "model.json", folder / "arrays.safetensors"
    whole_header, whole_arrays = header.read_text(), arrays.read_bytes()
    described = json.loads(whole_header)

    arrays.write_bytes(whole_arrays[: len(whole_arrays) // 2])
    with pytest.raises(SavedModelError, match="truncated or foreign"):
        load_model(folder)
    arrays.unlink()
    with pytest.raises(SavedModelError, match="not whole"):
        load_model(folder)
    arrays.write_bytes(whole_arrays)

    header.write_text(json.dumps(described | {"format_version": 99, "recsweep": "9.9"}))
    with pytest.raises(
        SavedModelError, match=r"format_version 99.*[Rr]ecsweep 9\.9 wrote it: install that"
    ):
        load_model(folder)
    header.write_text(json.dumps(described | {"kind": "os.system"}))
    with pytest.raises(SavedModelError, match=r"of the kind 'os\.system'"):
        load_model(folder)
    header.write_text(json.dumps({**described, "settings": {}}))
    with pytest.raises(SavedModelError, match="not whole"):
        load_model(folder)
    header.write_text(whole_header[:20])
    with pytest.raises(SavedModelError, match="truncated or not a recsweep model"):
        load_model(folder)
    header.write_text("[]")
    with pytest.raises(SavedModelError, match="not a recsweep model"):
        load_model(folder)
    header.unlink()
    with pytest.raises(SavedModelError, match="No saved model"):
        load_model(folder)
