"""What an Inference Endpoint calls: `EndpointHandler(path)` once, then the object for every request.

Endpoints load this file alone, so it imports transformers only; the other files of the repository come with the pipeline.
A request is `{"inputs": ..., "parameters": {...}}`: inputs are a text, `{"text", "mentions", "world"}`, or a list of them,
parameters are options of the pipeline's call (top_k, threshold, return_nil, marks, worlds).
"""

from typing import Any

from transformers import pipeline


class EndpointHandler:
    """Serves one linker repository.

    Args:
        path: the repository's folder.
    """

    def __init__(self, path: str = ""):
        self.pipeline: Any = pipeline("entity-linking", model=path, trust_remote_code=True)

    def __call__(self, data: dict[str, Any]) -> list[Any]:
        """Answers a request.

        Args:
            data: the request's JSON object.

        Returns:
            The links of a text, as dictionaries; for a list of texts, a list of such lists.

        Raises:
            ValueError: no inputs, unknown parameters, or inputs that the pipeline does not take; says which.
        """
        if not isinstance(data, dict) or "inputs" not in data:
            raise ValueError('expected {"inputs": text or texts, "parameters": {...}}, got no "inputs"')
        parameters = data.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise ValueError(f'expected "parameters" as an object, got {type(parameters).__name__}')
        inputs = data["inputs"]
        if not isinstance(inputs, (str, dict, list)):
            raise ValueError(f'expected "inputs" as a text, an object or a list, got {type(inputs).__name__}')
        try:
            links: list[Any] = self.pipeline(inputs, **parameters)
        except TypeError as error:
            raise ValueError(str(error)) from error
        return links
