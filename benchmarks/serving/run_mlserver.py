"""MLServer's side of the serving benchmark: ``python run_mlserver.py MODEL.onnx PORT``.

Without worker processes, which is its best for models this small.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from run_asgi import session


class Onnx(MLModel):
    async def load(self) -> bool:
        self.session = session(os.environ["BENCHMARK_MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = payload.inputs[0]
        (output,) = self.session.run(None, {"x": np.array(given.data.root, np.float32).reshape(given.shape)})
        made = ResponseOutput(name="y", shape=list(output.shape), datatype="FP32", data=output.ravel().tolist())
        return InferenceResponse(model_name=self.name, outputs=[made])


def main() -> None:
    model, port = sys.argv[1], int(sys.argv[2])
    folder = Path(tempfile.mkdtemp())
    settings = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2, "host": "127.0.0.1"}
    (folder / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0, "debug": False}))
    about = {"name": "m", "implementation": "run_mlserver.Onnx"}
    (folder / "model-settings.json").write_text(json.dumps(about))
    os.environ |= {"BENCHMARK_MODEL": model, "PYTHONPATH": str(Path(__file__).parent)}
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, "-m", "mlserver.cli.main", "start", str(folder)])


if __name__ == "__main__":
    main()
