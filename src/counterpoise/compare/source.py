"""The data of a comparison for processes elsewhere: where they are found, or what they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from counterpoise.core.paths import expand
from counterpoise.data.dataset import Dataset
from counterpoise.data.loading import is_name
from counterpoise.errors import InputError

from .recipe import Recipe

# What this process loaded last: fingerprint -> data set.
_loaded: dict[str, Dataset] = {}


@dataclass(frozen=True)
class Source:
    """How another process gets the data of a recipe: by their name or path, else as they are.

    Attributes:
        recipe: with paths from the root, since that process is in another folder.
        fingerprint: of the data.
        data: what has no name and lies in no file.
    """

    recipe: Recipe
    fingerprint: str
    data: Dataset | None

    @classmethod
    def of(cls, recipe: Recipe, data: Dataset) -> Source:
        """The source of a recipe's data, which are loaded here already."""
        named = is_name(recipe.data)
        place = None if named else expand(recipe.data)
        if place is not None and place.exists():
            recipe = replace(recipe, data=str(place.absolute()))
        if recipe.data_dir is not None:
            recipe = replace(recipe, data_dir=str(expand(recipe.data_dir).absolute()))
        found = named or (place is not None and place.exists())
        return cls(recipe, data.fingerprint(), None if found else data)

    def open(self) -> Dataset:
        """The data, loaded once in each process.

        Raises:
            InputError: they are not here, or others are here.
        """
        if self.data is not None:
            return self.data
        if self.fingerprint not in _loaded:
            data = self.recipe.load()
            if data.fingerprint() != self.fingerprint:
                raise InputError(
                    f"the data {self.recipe.data} on this machine are others than where the "
                    f"comparison was started (fingerprint {data.fingerprint()} in place of "
                    f"{self.fingerprint}); copy them from there, or use a folder that is shared"
                )
            _loaded.clear()
            _loaded[self.fingerprint] = data
        return _loaded[self.fingerprint]
