"""A plain PUT that ends by itself while its owner asks the other workers for it: the owner is answered."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import resuming
import serving

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 100_000
ROUNDS = 3


def test_who_takes_over_what_ends_meanwhile_is_answered(tmp_path: Path) -> None:
    """The other worker is stopped, so the question to it takes all of its time."""
    with serving.running(tmp_path, workers=2, rest=resuming.ENDPOINTS) as server:
        here, other = server.workers
        for _ in range(ROUNDS):
            target = serving.signed(serving.fresh(), SIZE)
            fields = {"Content-Type": "application/octet-stream"}
            begun = serving.head("PUT", target, fields, SIZE) + bytes(SIZE // 2)
            mine = resuming.connect_to(server, here)
            with resuming.connect_to(server, other) as theirs, resuming.connect_to(server, here) as asking:
                for sock in (mine, theirs):
                    sock.sendall(begun)
                resuming.wait_stored(server.storage, SIZE // 2, (here,))
                resuming.wait_stored(server.storage, SIZE // 2, (other,))
                os.kill(other, signal.SIGSTOP)
                try:
                    asking.sendall(serving.head("HEAD", target, {}))
                    resuming.reset(mine)
                    answer = serving.read_answer(asking, "HEAD")
                finally:
                    os.kill(other, signal.SIGCONT)
            told = (answer.status, answer.fields.get("upload-offset"))
            assert told == (204, str(SIZE // 2)), answer
