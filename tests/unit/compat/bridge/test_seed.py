"""The random seed of a run is Temporal's: SipHash-1-3 with zero keys over the run id and 0xFF (temporal-seam §1.9)."""

import json
import subprocess
import sys
import uuid

from dbos_compat.bridge.seeds import _siphash_13, seed


def test_it_is_the_siphash_that_cpython_has_built_in() -> None:
    """With ``PYTHONHASHSEED=0`` CPython hashes bytes by SipHash-1-3 with zero keys: an oracle on every machine."""
    run_ids = ["", "a", "1234567", "12345678", *(str(uuid.UUID(int=n)) for n in range(1, 200, 7))]
    program = (
        "import json,sys; print(json.dumps([hash(r.encode() + b'\\xff') & (2**64 - 1) for r in json.load(sys.stdin)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(run_ids),
        env={"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [seed(run_id) for run_id in run_ids] == json.loads(done.stdout)


def test_where_the_interpreter_lends_no_hash_ours_gives_the_same() -> None:
    for run_id in ("", "a", "1234567", "12345678", "5e1d05aa-8c5e-4c9f-830c-8b45c629545c", "grüße" * 50):
        assert _siphash_13(run_id.encode() + b"\xff") == seed(run_id)
