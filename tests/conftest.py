"""One torch thread: two on shared cores are many times slower, and results stay reproducible.

Nothing is fetched from the Hugging Face hub.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

torch.set_num_threads(1)
