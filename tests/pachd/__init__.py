"""A stand-in for pachd: the real gRPC interface over real sockets, strict where the server is strict.

`python -m tests.pachd --place DIR` is a program of its own. Its worker really runs what pipelines ask for.
"""
