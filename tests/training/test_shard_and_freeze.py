"""What is frozen is not split."""

import pytest
from toy import toy_data, toy_model

from counterpoise import InputError, fit


def test_frozen_encoders_are_not_split():
    data = toy_data()
    model = toy_model(data)
    model.freeze("a")
    with pytest.raises(InputError, match="shard splits encoders that are trained, found a frozen"):
        fit(model, data, epochs=1, shard=True)
