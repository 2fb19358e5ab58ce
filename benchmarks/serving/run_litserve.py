"""LitServe's side of the serving benchmark: ``python run_litserve.py MODEL.onnx PORT``.

One worker, with its fast queue.
"""

import sys
from typing import Any

import litserve
import numpy as np
from run_asgi import session


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = session(sys.argv[1])

    def decode_request(self, request):  # With a type, LitServe would take it for a parameter of the query.
        given = request["inputs"][0]
        return np.array(given["data"], np.float32).reshape(given["shape"])

    def predict(self, x: Any) -> Any:
        return self.model.run(None, {"x": x})[0]

    def encode_response(self, output: Any) -> Any:
        made = {"name": "y", "shape": output.shape, "datatype": "FP32", "data": output.ravel().tolist()}
        return {"outputs": [made]}


if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/v2/models/m/infer"), accelerator="cpu", fast_queue=True)
    port = int(sys.argv[2])
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error", num_api_servers=1)
