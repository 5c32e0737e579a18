"""Checks that need more than the mask they speak of: its image, or other cases. What each of them judges."""

from collections.abc import Mapping
from enum import StrEnum


class Judged(StrEnum):
    """What a check looks at in its own case: while that stays the same, what a person said of it holds."""

    CLASS = "class"
    MASK = "mask"
    CASE = "case"


# Of the image, looked at with a mask.
TUMOR_OUTSIDE_BODY = "tumor_outside_body"
# Of the cohort.
UNUSUAL_VOLUME = "unusual_volume"
CLASS_ORDER_PERMUTED = "class_order_permuted"
DUPLICATE_MASK = "duplicate_mask"
DUPLICATE_IMAGE = "duplicate_image"
IMAGE_IN_TWO_SOURCES = "image_in_two_sources"
PATIENT_IN_TWO_SPLITS = "patient_in_two_splits"

# They are filed after a version was written, and a version made from it takes over what still holds.
LATER_CHECKS: Mapping[str, Judged] = {
    TUMOR_OUTSIDE_BODY: Judged.CLASS,
    UNUSUAL_VOLUME: Judged.CLASS,
    CLASS_ORDER_PERMUTED: Judged.MASK,
    DUPLICATE_MASK: Judged.MASK,
    DUPLICATE_IMAGE: Judged.CASE,
    IMAGE_IN_TWO_SOURCES: Judged.CASE,
    PATIENT_IN_TWO_SPLITS: Judged.CASE,
}
