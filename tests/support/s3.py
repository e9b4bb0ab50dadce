"""An S3 of a test's own: moto's server, on loopback, gone at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

BUCKET = "elevon"


@contextlib.contextmanager
def s3_bucket() -> Iterator[str]:
    """Run one with an empty bucket; gives the URL of a prefix in it for pyarrow."""
    server = pytest.importorskip("moto.server", reason="moto's server is not installed")
    boto3 = pytest.importorskip("boto3")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}/some/prefix?scheme=http&endpoint_override={host}:{port}"
    finally:
        running.stop()
