"""The specification of a data set, by which a model accepts or refuses it before the first step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinygen.data.fields import Field, Image, Labels, Points
from tinygen.data.fields.pictures import Kind


@dataclass(frozen=True, init=False)
class Spec:
    """The name of a data set and its fields: `spec["x"]`, or `spec.x`.

    For images x, perhaps with labels y, their shape stands for the fields: `Spec("digits", (8, 8, 1), "grey",
    classes=10)`.
    """

    name: str
    fields: Mapping[str, Field]

    def __init__(
        self,
        name: str,
        fields: Mapping[str, Field] | Sequence[int],
        kind: Kind | None = None,
        *,
        classes: int | None = None,
    ):
        if not isinstance(fields, Mapping):
            height, width, channels = fields
            labels = {"y": Labels(classes)} if classes else {}
            fields = {"x": Image(height, width, channels, kind), **labels}
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "fields", fields)

    def __getitem__(self, name: str) -> Field:
        try:
            return self.fields[name]
        except KeyError:
            raise KeyError(self._no_field(name)) from None

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name.startswith("__") or name not in fields:
            raise AttributeError(self._no_field(name) if fields else name)
        return fields[name]

    def _no_field(self, name: str) -> str:
        return f"data set {self.name!r} has no field {name!r}; it has {', '.join(self.fields) or 'none'}"

    def __contains__(self, name: object) -> bool:
        return name in self.fields

    @property
    def kind(self) -> str | None:
        """Kind of the images x; None if there are none."""
        return getattr(self.fields.get("x"), "kind", None)

    @property
    def classes(self) -> int | None:
        """Number of classes of the labels y; None if there are none."""
        y = self.fields.get("y")
        return y.classes if isinstance(y, Labels) else None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes of the labels y; None if there are none."""
        y = self.fields.get("y")
        return y.names if isinstance(y, Labels) else None

    def describe(self) -> dict[str, Any]:
        """The entry of config.json."""
        return {"name": self.name, "fields": {name: field.describe() for name, field in self.fields.items()}}

    @staticmethod
    def from_description(description: Mapping[str, Any]) -> "Spec":
        """The specification from what `describe` returned, in this version or in one without fields."""
        if "fields" not in description:
            return _before_fields(description)
        fields = {name: Field.from_description(each) for name, each in description["fields"].items()}
        return Spec(description["name"], fields)


def _before_fields(old: Mapping[str, Any]) -> Spec:
    """The specification from the shape, kind and number of classes that versions without fields recorded."""
    x: Field
    if old["kind"] == "points":
        x = Points(old["shape"][0], old.get("limits"))
    else:
        height, width, channels = old["shape"]
        x = Image(height, width, channels, old["kind"], binarisation=old.get("binarisation"))
    labels = {"y": Labels(old["classes"], old.get("class_names"))} if old.get("classes") else {}
    return Spec(old["name"], {"x": x, **labels})
