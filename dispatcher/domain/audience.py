"""Who a campaign goes to: the audience as the API says it, in the one canonical form that is stored.

What it is for: `campaign.audience` holds only what these functions make, so that the planner can trust its keys. What it
is not: the selection itself (`storage/planning.py` turns the canonical form into SQL).

Canonical: {"kind": "all"}, or {"kind": "filter"} with any of gender, age_min, age_max (years, both inclusive) and tags
(sorted, distinct; a contact with any of them matches). A filter without a condition is "all".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dispatcher.domain.contacts import FieldError, clean_tags, normal_gender

AGE_MAX = 130

ALL: dict[str, Any] = {"kind": "all"}


def canonical_filter(
    *, gender: str | None, age_min: int | None, age_max: int | None, tags: Sequence[str] | None
) -> dict[str, Any] | list[FieldError]:
    """The canonical form of a filter, or every error in it (fields named from `filter` on)."""
    errors: list[FieldError] = []
    found: dict[str, Any] = {"kind": "filter"}
    if gender is not None:
        normal = normal_gender(gender)
        if isinstance(normal, FieldError):
            errors.append(FieldError("filter.gender", normal.code, normal.message))
        elif normal is not None:
            found["gender"] = normal
    ages = {name: age for name, age in (("age_min", age_min), ("age_max", age_max)) if age is not None}
    found |= ages
    errors += _age_errors(ages)
    if tags:
        cleaned = clean_tags(tags)
        if isinstance(cleaned, FieldError):
            errors.append(FieldError("filter.tags", cleaned.code, cleaned.message))
        elif cleaned:
            found["tags"] = sorted(cleaned)
    if errors:
        return errors
    return found if len(found) > 1 else dict(ALL)


def _age_errors(ages: Mapping[str, int]) -> list[FieldError]:
    errors = [
        FieldError(f"filter.{name}", "out_of_range", f"an age is 0 to {AGE_MAX} years")
        for name, age in ages.items()
        if not 0 <= age <= AGE_MAX
    ]
    if not errors and len(ages) == 2 and ages["age_min"] > ages["age_max"]:
        errors.append(FieldError("filter.age_max", "out_of_range", "age_max is below age_min: nobody would match"))
    return errors


def as_given(audience: dict[str, Any]) -> Any:
    """A canonical audience as the API shows it: "all", or {"filter": {...}}."""
    if audience["kind"] == "all":
        return "all"
    return {"filter": {key: value for key, value in audience.items() if key != "kind"}}
