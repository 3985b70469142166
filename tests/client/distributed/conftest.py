"""A cluster of Ray for the tests: a head that does no work, and two nodes with a CPU each, all on this machine."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.serving import ROOT

_STORE = 100 * 2**20  # bytes


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of a bucket in a server of its own that speaks S3, which this process and its children know of."""
    import s3fs  # noqa: PLC0415 — these are in an environment of their own
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", host)
        s3fs.S3FileSystem().mkdir("digits")
        yield "s3://digits"
    server.stop()


@pytest.fixture(scope="module")
def cluster(bucket: str) -> Iterator[Any]:  # noqa: ARG001 — whose place the nodes are to know
    """The cluster, whose processes are all ended afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # of the nodes, and by them of all their workers
        patch.delenv("RAY_ADDRESS", raising=False)
        from ray.cluster_utils import Cluster  # noqa: PLC0415 — it is in an environment of its own

        head = {"num_cpus": 0, "object_store_memory": _STORE, "include_dashboard": False}
        running = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(2):
                running.add_node(num_cpus=1, object_store_memory=_STORE)
            yield running
        finally:
            running.shutdown()
