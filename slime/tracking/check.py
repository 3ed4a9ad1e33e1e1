"""What can be known about a tracker before anything starts, without importing its library."""

import importlib.util
import netrc
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from slime.config.schema import MlflowTracking, TrackingConfig, WandbMode, WandbTracking

INSTALL = "pip install -c constraints.txt -e '.[trackers]'"


def problems(config: TrackingConfig) -> Iterator[str]:
    """A line for a library that is missing, and for a login that W&B would ask for."""
    match config:
        case WandbTracking():
            yield from _missing("wandb", "wandb")
            if config.mode is WandbMode.online and not _may_be_logged_in():
                yield (
                    "tracking.mode=online needs an API key of W&B, and there is none: run wandb "
                    "login, set WANDB_API_KEY, or write tracking.mode=offline"
                )
        case MlflowTracking():
            uri = config.uri or "sqlite"
            databases = [] if uri.startswith(("http", "databricks")) else ["sqlalchemy", "alembic"]
            yield from _missing("mlflow", "mlflow", *databases)


def _missing(choice: str, *packages: str) -> Iterator[str]:
    for package in packages:
        if not _is_installed(package):
            yield f"tracking={choice} needs the package {package}: {INSTALL}"
            return


def _is_installed(package: str) -> bool:
    """A folder of that name in the current directory (wandb makes one) is no package."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def _may_be_logged_in() -> bool:
    """False only where W&B would certainly find no key; its own look-up decides when it starts."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    config = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    if (config / "settings").exists() or Path("wandb/settings").exists():
        return True  # may hold a key, or name a server that .netrc has one for
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    server = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    try:
        return netrc.netrc(path).authenticators(urlsplit(server).netloc) is not None
    except FileNotFoundError:
        return False
    except (OSError, netrc.NetrcParseError):
        return True
