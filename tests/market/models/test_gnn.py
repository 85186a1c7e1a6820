"""The GNN sees the neighbours, by sector and by correlation, as far as they are there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from market.errors import BadPayload, BadValue
from market.models.gnn import MOST_NODES, Gnn, correlated
from tests.market.models.planted import QUICK, neighbourly, noise, right, shuffled

PAIRS = {place: place // 2 for place in range(6)}


def taught(sectors: dict[int, int], neighbours: int, minutes: int = 300) -> Gnn:
    """By minutes of three pairs."""
    torch.set_num_threads(1)
    (examples, labels), (held, held_labels) = neighbourly(minutes, 1), neighbourly(60, 2)
    model = Gnn("15m", sectors, neighbours, QUICK)
    model.fit(examples, {"15m": labels}, held, {"15m": held_labels}, 1)
    return model


@pytest.fixture(scope="module")
def by_sector() -> Gnn:
    """Taught with the edges of sectors alone."""
    return taught(PAIRS, 0)


def test_what_the_neighbour_in_the_sector_tells_is_learned(by_sector):
    asked, wanted = neighbourly(60, 3)

    assert right(by_sector.predict(asked), wanted) > 0.9


def test_what_the_neighbour_by_correlation_tells_is_learned():
    asked, wanted = neighbourly(60, 3)

    assert right(taught({}, 2).predict(asked), wanted) > 0.9


def test_without_an_edge_there_is_nothing_to_learn():
    asked, wanted = neighbourly(60, 3)

    assert 0.4 < right(taught({}, 0).predict(asked), wanted) < 0.6


def test_of_instruments_whose_neighbours_are_missing_nothing_is_said_and_of_others_the_same(by_sector):
    asked, wanted = neighbourly(60, 3)
    whole = by_sector.predict(asked)
    kept = ~np.isin(asked.instrument, [1, 5])

    found = by_sector.predict(asked.take(kept))

    paired = np.isin(asked.instrument[kept], [2, 3])
    np.testing.assert_allclose(found[paired], whole[kept][paired], atol=1e-6)
    assert right(found[paired], wanted[kept][paired]) > 0.9
    assert np.isnan(found[~paired]).all()


def test_a_neighbour_of_whom_nothing_is_known_counts_as_missing(by_sector):
    asked, _ = neighbourly(60, 3)
    whole = by_sector.predict(asked)
    asked.features[asked.instrument == 1] = np.nan

    found = by_sector.predict(asked)

    assert np.isnan(found[asked.instrument == 0]).all()
    np.testing.assert_allclose(found[asked.instrument > 1], whole[asked.instrument > 1], atol=1e-6)


def test_half_of_the_neighbours_are_enough_and_fewer_are_not():
    four = taught(dict.fromkeys(range(5), 0), 0, 20)  # five of one sector: four neighbours each
    asked, _ = neighbourly(10, 3)

    two = four.predict(asked.take(np.isin(asked.instrument, [0, 1, 2])))
    one = four.predict(asked.take(np.isin(asked.instrument, [0, 1])))

    assert np.isfinite(two).all()
    assert np.isnan(one).all()


def test_those_who_count_for_an_answer_are_enough_for_it_to_be_the_same(by_sector):
    asked, _ = neighbourly(60, 3)
    whole = by_sector.predict(asked)

    near = by_sector.neighbours(np.array([3]))
    few = asked.take(np.isin(asked.instrument, near))

    assert near.tolist() == [2, 3]
    np.testing.assert_allclose(by_sector.predict(few)[few.instrument == 3], whole[asked.instrument == 3], atol=1e-6)
    assert by_sector.neighbours(np.array([99])).tolist() == [99]
    assert by_sector.neighbours(np.array([0, 4])).tolist() == [0, 1, 4, 5]


def test_the_order_of_the_rows_does_not_matter(by_sector):
    asked, _ = neighbourly(60, 3)
    order = np.random.default_rng(4).permutation(asked.rows)

    found = by_sector.predict(asked.take(order))

    np.testing.assert_allclose(found, by_sector.predict(asked)[order], atol=1e-6)


def test_an_instrument_that_nobody_told_of_is_answered_alone(by_sector):
    asked, _ = neighbourly(60, 3)
    whole = by_sector.predict(asked)
    strange = asked._replace(instrument=np.where(asked.instrument == 0, 99, asked.instrument).astype(np.int32))

    found = by_sector.predict(strange)

    assert np.isfinite(found[asked.instrument != 1]).all()
    assert np.isnan(found[asked.instrument == 1]).all()  # whose only neighbour is gone
    np.testing.assert_allclose(found[asked.instrument > 1], whole[asked.instrument > 1], atol=1e-6)
    assert not np.allclose(found[asked.instrument == 0], whole[asked.instrument == 0], atol=1e-3)


def test_an_example_without_a_sequence_is_answered(by_sector):
    asked, _ = neighbourly(60, 3)
    whole = by_sector.predict(asked)
    asked.sequence[:] = np.nan

    assert by_sector.predict(asked).tobytes() == whole.tobytes()


def test_neighbours_are_those_whose_returns_went_together_the_most():
    chance = np.random.default_rng(1)
    market, other = chance.normal(size=(2, 400))
    noises = chance.normal(size=(6, 400))
    columns = [market, market + 0.5 * noises[1], market + noises[2], other, other + 0.3 * noises[4], noises[5]]
    returns = np.stack(columns, axis=1)

    found = correlated(returns, 2)

    expected = np.corrcoef(returns.T) - 2 * np.eye(6)
    for column, near in enumerate(found[:5]):
        wanted = [place for place in np.argsort(-expected[column])[:2] if expected[column, place] > 0.2]
        assert [place for place in near if place >= 0] == wanted
    assert found[5].tolist() == [-1, -1]


def test_returns_that_are_unknown_are_left_out_of_the_correlation():
    chance = np.random.default_rng(1)
    returns = np.repeat(chance.normal(size=(100, 1)), 3, axis=1) + 0.1 * chance.normal(size=(100, 3))
    returns[::2, 1] = np.nan
    returns[20:, 2] = np.nan

    # 0 and 1 share 50 moments; 2 shares 20 and 10 with them, too few to tell.
    assert correlated(returns, 2).tolist() == [[1, -1], [0, -1], [-1, -1]]


def test_more_instruments_than_a_table_of_pairs_holds_are_refused():
    examples = noise(40, 1, 4)

    with pytest.raises(BadValue, match=str(MOST_NODES)):
        Gnn("15m", dict.fromkeys(range(MOST_NODES + 1), 1)).fit(
            examples, {"15m": shuffled(40, 1)}, examples, {"15m": shuffled(40, 1)}, 1
        )


def test_a_file_whose_graph_is_none_is_a_bad_payload(by_sector):
    data = by_sector.save()
    places = np.arange(6, dtype=np.int64).tobytes()
    assert data.count(places) == 1

    with pytest.raises(BadPayload, match="ascend"):
        Gnn.load(data.replace(places, np.arange(6, dtype=np.int64)[::-1].tobytes()))
