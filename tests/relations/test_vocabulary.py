import zlib

from torchmetrics_sess.relations.vocabulary import PREDICATES


def test_the_order_is_that_of_the_released_predicates() -> None:
    assert len(PREDICATES) == len(set(PREDICATES)) == 56
    assert (PREDICATES[0], PREDICATES[23], PREDICATES[49], PREDICATES[55]) == (
        "over",
        "looking at",
        "about to hit",
        "leaning on",
    )
    # One misplaced or misspelt predicate changes the meaning of every stored graph.
    assert zlib.crc32(", ".join(PREDICATES).encode()) == 3307763242
