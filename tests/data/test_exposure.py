import torch
from hypothesis import given
from hypothesis import strategies as st

from wake2vec.data.audit_record import COUNT_CLASSES
from wake2vec.data.corpus import exposure_classes


@given(st.lists(st.integers(0, 10), max_size=30))
def test_every_count_is_in_the_one_class_whose_limits_hold_it(counts: list[int]) -> None:
    classes = exposure_classes(torch.tensor(counts, dtype=torch.long))
    assert list(classes) == list(COUNT_CLASSES)
    named = ["unseen", "seen_1", "seen_2_4", "seen_2_4", "seen_2_4"] + ["seen_5_up"] * 6
    for index, count in enumerate(counts):
        assert [name for name, members in classes.items() if members[index]] == [named[count]]
