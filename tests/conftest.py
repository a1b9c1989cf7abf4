"""Threads are bounded so that two test processes do not fight over two cores; nothing may reach for a model hub."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
