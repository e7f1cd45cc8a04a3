"""One torch thread: two on shared cores are many times slower, and results stay reproducible.

Nothing is fetched from the Hugging Face hub.
"""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets; skips where there is none."""
    shared = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("COUNTERPOISE_DATA", shared))
    if not (folder / "utd_mhad").is_dir() or not (folder / "mnist").is_dir():
        pytest.skip(f"no real data in {folder} (set COUNTERPOISE_DATA)")
    return folder
