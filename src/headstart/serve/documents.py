"""What OpenAPI says beside the routes: bodies, answers, examples."""

from typing import Any

from fastapi import FastAPI

ABOUT = (
    "Says which class an image belongs to. Errors are {\"error\": TEXT}. An API key, where one is "
    "asked for, is sent as `Authorization: Bearer KEY`."
)  # fmt: skip
ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
    "example": {"error": "expected at least one image, found none"},
}
_PROBABILITIES = {"type": "object", "additionalProperties": {"type": "number"}}
PREDICTION = {
    "type": "object",
    "required": ["image", "label"],
    "properties": {
        "image": {"type": "string"},
        "label": {"type": ["string", "null"]},
        "answer": {"type": "string", "enum": ["answered", "not sure", "none of these"]},
        "probability": {"type": ["number", "null"]},
        "labels": {"type": "array", "items": {"type": "string"}},
        "typicality": {"type": "number"},
        "probabilities": _PROBABILITIES,
        "explanation": {"type": "object"},
        "error": {"type": "string"},
    },
}
PREDICTIONS = {
    "type": "object",
    "required": ["model", "version", "predictions"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "predictions": {"type": "array", "items": PREDICTION},
    },
    "example": {
        "model": "pets", "version": "0f343b0931126",
        "predictions": [{
            "image": "image 1", "label": "cats", "answer": "answered", "probability": 0.98,
            "probabilities": {"cats": 0.98, "dogs": 0.02},
        }],
    },
}  # fmt: skip
REASONS = {
    400: "The request cannot be read",
    401: "No API key, or another",
    403: "Asked for by another site's page",
    404: "No such model, version or path",
    405: "Another method is expected",
    408: "The request did not come in time",
    413: "Too many bytes or images",
    415: "A body of another kind",
    422: "Options, or an image, that cannot be used",
    503: "No room now: try again after Retry-After seconds",
}


def json_of(schema: Any) -> dict[str, Any]:
    """As content of a body."""
    return {"application/json": {"schema": schema}}


def answers(schema: Any, *codes: int, said: str = "What was asked for") -> dict[int | str, Any]:
    """The answers of a route: 200 and these errors."""
    errors: dict[int | str, Any] = {
        code: {"description": REASONS[code], "content": json_of(ERROR)} for code in codes
    }
    return {200: {"description": said, "content": json_of(schema)}, **errors}


_BYTES = {"schema": {"type": "string", "format": "binary"}}
IMAGES = {
    "required": True,
    "content": {
        "image/jpeg": _BYTES,
        "image/png": _BYTES,
        "image/webp": _BYTES,
        "application/octet-stream": _BYTES,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "images": {"type": "array", "items": {"type": "string", "format": "binary"}}
                },
                "required": ["images"],
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "properties": {
                    "images": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["data"],
                            "properties": {
                                "name": {"type": "string"},
                                "data": {"type": "string", "format": "byte"},
                            },
                        },
                    }
                },
            },
            "example": {"images": [{"name": "one.png", "data": "iVBORw0KGgo="}]},
        },
    },
}
_REFUSED = {"anyOf": [ERROR, PREDICTIONS]}
PREDICT: dict[str, Any] = {
    "openapi_extra": {"requestBody": IMAGES},
    "responses": {
        **answers(PREDICTIONS, 400, 401, 403, 404, 408, 413, 415, 503),
        422: {"description": REASONS[422], "content": json_of(_REFUSED)},
    },
}
OK: dict[str, Any] = {"responses": answers({"type": "object"}, 401)}
MODELS: dict[str, Any] = {
    "responses": answers(
        {"type": "object", "properties": {"models": {"type": "array"}}, "required": ["models"]}, 401
    )
}
READY: dict[str, Any] = {
    "responses": {
        **answers({"type": "object"}),
        503: {"description": "It is being stopped", "content": json_of({"type": "object"})},
    }
}
METRICS: dict[str, Any] = {
    "responses": {
        200: {"description": "Text", "content": {"text/plain": {"schema": {"type": "string"}}}},
        401: {"description": REASONS[401], "content": json_of(ERROR)},
    }
}


_KEPT = {
    "type": "object",
    "required": ["kept", "left_out"],
    "properties": {"kept": {"type": "integer"}, "left_out": {"type": "integer"}},
    "example": {"kept": 1, "left_out": 0},
}
REASONS[507] = "No room to keep it"
FEEDBACK: dict[str, Any] = {
    "openapi_extra": {"requestBody": IMAGES},
    "responses": answers(_KEPT, 400, 401, 403, 404, 408, 413, 415, 422, 503, 507),
}


_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
}
_INFERENCE = {
    "type": "object",
    "required": ["inputs"],
    "properties": {"id": {"type": "string"}, "inputs": {"type": "array", "items": _TENSOR}},
}
_INFERRED = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {"outputs": {"type": "array", "items": _TENSOR}},
}
_ONE = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["iVBORw0KGgo="]}
_ASKED = {**json_of(_INFERENCE), "application/octet-stream": _BYTES}
_ASKED["application/json"]["example"] = {"inputs": [_ONE]}
INFER: dict[str, Any] = {
    "openapi_extra": {"requestBody": {"required": True, "content": _ASKED}},
    "responses": {
        **answers(_INFERRED, 400, 401, 403, 404, 408, 413, 415, 422, 503),
        200: {
            "description": "The outputs, binary ones behind the JSON",
            "content": {**json_of(_INFERRED), "application/octet-stream": _BYTES},
        },
    },
}


def complete(app: FastAPI, locked: bool) -> None:
    """Take away what is never answered (FastAPI's own 422), and name the key where one is asked."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = make()
            schema.get("components", {}).get("schemas", {}).clear()
            for path in schema["paths"].values():
                for operation in path.values():
                    found = operation["responses"].get("422", {}).get("content", {})
                    if "HTTPValidationError" in str(found):
                        operation["responses"]["422"] = {
                            "description": REASONS[422], "content": json_of(ERROR)
                        }  # fmt: skip
            if locked:
                key = {"type": "http", "scheme": "bearer"}
                schema.setdefault("components", {})["securitySchemes"] = {"key": key}
                schema["security"] = [{"key": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
