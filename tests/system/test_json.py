"""JSON that any reader reads: null in the place of nan and infinity."""

import json
import math

import numpy as np
import pytest

from headstart.system.json import dumps


def read_strictly(text: str) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_null_stands_for_what_json_does_not_have(value: float) -> None:
    text = dumps({"history": {"loss": [0.5, value]}, "pair": (value, 1), "one": value})
    assert read_strictly(text) == {"history": {"loss": [0.5, None]}, "pair": [None, 1], "one": None}


def test_the_rest_stays_as_it_is() -> None:
    content = {"é": [True, None, 3, 0.25, "nan"], "leer": {}}
    assert dumps(content) == json.dumps(content, ensure_ascii=False)
    assert dumps(content, indent=2) == json.dumps(content, indent=2, ensure_ascii=False)
