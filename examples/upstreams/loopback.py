"""Where every example upstream listens, and how it is told its port."""

import argparse

HOST = "127.0.0.1"


def port_parser(description: str, *, default: int) -> argparse.ArgumentParser:
    """Return a command line parser that knows --port (LitServe takes 1024 to 65535)."""
    parser = argparse.ArgumentParser(description=description)
    told = f"loopback port to listen on (default {default})"
    parser.add_argument("--port", type=int, default=default, help=told)
    return parser
