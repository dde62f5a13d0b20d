"""A real llama.cpp server (the xllamacpp wheel) in a process of its own: python llamacpp_server.py MODEL.gguf SLOTS"""

from __future__ import annotations

import signal
import sys

import xllamacpp


def main(model: str, slots: int) -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {"tiny"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = slots
    parameters.n_ctx = 2048 * slots
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.endpoint_metrics = True
    server = xllamacpp.Server(parameters)
    print("listening on", server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
