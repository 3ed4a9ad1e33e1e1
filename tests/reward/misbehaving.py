"""Reward functions as users write them on a bad day."""

import os
from pathlib import Path

NOT_A_FUNCTION = 3


def moody(response: str, _: str) -> float:
    """Does what the response says."""
    match response:
        case "hang":
            while True:
                pass
        case "die":
            os._exit(0)
        case "raise":
            raise ValueError("no good\nat all")
        case "exit":
            raise SystemExit(3)
        case "nan":
            return float("nan")
        case "text":
            return "1.0"  # type: ignore[return-value]
        case "none":
            return None  # type: ignore[return-value]
        case "true":
            return True
    return len(response) / 10


def hang_and_tell(response: str, _: str) -> float:
    """Writes its process id to the file that the response names, then hangs."""
    Path(response).write_text(str(os.getpid()))
    while True:
        pass


def one_argument(response: str) -> float:
    return float(response)
