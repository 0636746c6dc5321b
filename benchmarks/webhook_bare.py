"""The floor of the webhook benchmark: a FastAPI handler that answers 200 and does nothing.

`python -m benchmarks.webhook_bare PORT`
"""

import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)


@app.post("/webhooks/shopify")
async def receive() -> dict[str, str]:
    return {"state": "applied"}


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=False,
        log_config=None,
        server_header=False,
    )
