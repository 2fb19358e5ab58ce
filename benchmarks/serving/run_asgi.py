"""The other servers of the serving benchmark, each at its best: ``python run_asgi.py MODEL.onnx PORT SIDE``.

- ``bare``: an ASGI application of thirty lines under uvicorn, that takes and gives the binary tensor as it comes.
- ``fastapi``: one coroutine with pydantic models (a plain function would go through a thread).

MLServer and LitServe start processes that import their models, so these are in files of their own.
"""

import json
import sys
from typing import Any

import numpy as np
import onnxruntime


def session(path: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def bare(path: str, port: int) -> None:
    import uvicorn

    model = session(path)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        length = int(dict(scope["headers"])[b"inference-header-content-length"])
        shape = json.loads(body[:length])["inputs"][0]["shape"]
        (output,) = model.run(None, {"x": np.frombuffer(body, np.float32, offset=length).reshape(shape)})
        data = output.tobytes()
        about = {"name": "y", "datatype": "FP32", "shape": output.shape, "parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"model_name": "m", "outputs": [about]}).encode()
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"inference-header-content-length", b"%d" % len(head)),
            (b"content-length", b"%d" % (len(head) + len(data))),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": head + data})

    uvicorn.run(app, port=port, http="httptools", loop="uvloop", lifespan="off", access_log=False, log_level="error")


def fastapi(path: str, port: int) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Tensor(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]

    class Message(BaseModel):
        inputs: list[Tensor] = []
        outputs: list[Tensor] = []

    model, app = session(path), FastAPI()

    @app.post("/v2/models/m/infer")
    async def infer(request: Message) -> Message:
        given = request.inputs[0]
        (output,) = model.run(None, {"x": np.array(given.data, np.float32).reshape(given.shape)})
        made = Tensor(name="y", shape=list(output.shape), datatype="FP32", data=output.ravel().tolist())
        return Message(outputs=[made])

    uvicorn.run(app, port=port, http="httptools", loop="uvloop", access_log=False, log_level="error")


if __name__ == "__main__":
    {"bare": bare, "fastapi": fastapi}[sys.argv[3]](sys.argv[1], int(sys.argv[2]))
