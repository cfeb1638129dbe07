"""A real OIP server of somebody else's making: MLServer, with the irises of `examples.upstreams.iris` as its model.

    var/mlserver/bin/python -m examples.upstreams.mlserver_server --port 9103

It runs in an environment of its own, which `make install` builds: its dependencies are many. MLServer speaks the
JSON of the protocol, no binary tensors. The request's parameter `temperature` (a number above 0, default 1) makes the
model less sure of itself; a real runtime takes its parameters from the same place.
"""

import asyncio

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse

from examples.upstreams import iris, loopback

FEATURES = 4


class Iris(MLModel):  # type: ignore[misc]  # MLServer is in another environment
    """Tell irises apart, any number of rows at a time."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the probabilities of the three species, and the likeliest, of each row."""
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        if rows.ndim != len("nk") or rows.shape[1] != FEATURES:
            raise InferenceError(f"iris takes rows of {FEATURES} numbers, not {list(rows.shape)}")
        logits = (rows @ iris.WEIGHTS + iris.BIAS) / _temperature(payload)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        likeliest = [iris.SPECIES[place] for place in logits.argmax(axis=1)]
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[
                NumpyCodec.encode_output("probabilities", shares / shares.sum(axis=1, keepdims=True)),
                StringCodec.encode_output("species", likeliest),
            ],
        )


def _temperature(payload: InferenceRequest) -> float:
    stated = payload.parameters.model_dump() if payload.parameters else {}
    temperature = stated.get("temperature", 1)
    if not isinstance(temperature, int | float) or temperature <= 0:
        raise InferenceError("parameter 'temperature' must be a number above 0")
    return float(temperature)


def main() -> None:
    """Serve until told to stop; what else MLServer listens on (gRPC, metrics) gets any free port."""
    options = loopback.port_parser("Serve irises with MLServer on loopback.", default=9103).parse_args()
    settings = Settings(
        host=loopback.HOST,
        http_port=options.port,
        grpc_port=0,
        metrics_endpoint=None,
        parallel_workers=0,
        debug=False,
    )
    model = ModelSettings(name="iris", implementation=Iris, parameters=ModelParameters(version="1"))
    asyncio.run(MLServer(settings).start([model]))


if __name__ == "__main__":
    main()
