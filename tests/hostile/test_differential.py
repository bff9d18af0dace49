"""Whatever torch loads with weights_only=True is what diffai reads, or diffai refuses the file."""

from __future__ import annotations

import os
import time
from collections import Counter
from itertools import islice

from differential import verdict
from loaders import Loader
from mutations import files


def test_torch_and_diffai_read_the_same_or_diffai_refuses() -> None:
    wanted, until = int(os.environ.get("DIFFAI_FUZZ", "3000")), time.monotonic() + 40
    torch, found = Loader("weights"), Counter[str]()
    try:
        for kind, data in islice(files(13), wanted):
            answer = verdict(torch, data)
            assert not answer.startswith("wrong"), (kind, answer, data)
            found[answer] += 1
            if time.monotonic() > until:
                break
    finally:
        torch.close()
    assert found["equal"] > 50, found
    assert found["refused"] > 50, found
