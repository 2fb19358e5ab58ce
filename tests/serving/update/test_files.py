"""A node's server gets a version in the form that is the fastest there."""

from __future__ import annotations

from fogline.inference.card import Asset, Card, Dense, Tensor, Variant, read_card
from fogline.serving.update.files import narrowed

CARD = Card(
    model="m",
    created=0.0,
    inputs=(Tensor("x", "FP32", (-1, 4)),),
    outputs=(Tensor("y", "FP32", (-1, 2)),),
    graph=Asset("a" * 64, 10),
    dense=(Dense("w"),),
    variants=(Variant("int8", Asset("b" * 64, 5), 1.0),),
)


def test_a_card_offers_what_the_trial_chose_and_nothing_else() -> None:
    plain = read_card(narrowed(CARD.encoded(), "dense"))
    assert (plain.dense, plain.graph, plain.variants) == (CARD.dense, None, ())
    graph = read_card(narrowed(CARD.encoded(), "onnx/int8"))
    assert (graph.dense, graph.graph, graph.variants) == ((), CARD.graph, CARD.variants)


def test_without_a_choice_it_is_the_card_to_the_byte() -> None:
    assert narrowed(CARD.encoded(), "") == CARD.encoded()
    assert narrowed(CARD.encoded(), "torch") == CARD.encoded()
