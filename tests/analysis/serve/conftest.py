"""A real server of runs that tests write, on a free port, in a thread."""

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.run import open_runs
from analysis.serve.database import Database
from analysis.serve.pages import Viewer
from analysis.serve.server import ViewerServer, open_viewer
from sweeps.schemas import SCHEMA_VERSION, attribute_images, attribute_results
from sweeps.store import RunDirectory, rows_table


@dataclass
class Answer:
    """What the server sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The page without its tags."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.body.decode())).split())

    @property
    def links(self) -> list[str]:
        return [unescape(link) for link in re.findall(r'(?:href|src)="([^"]*)"', self.body.decode())]


@dataclass
class Served:
    """A server and its viewer."""

    port: int
    viewer: Viewer

    def get(self, path: str, *, method: str = "GET", host: str | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True)
        if host != "":
            connection.putheader("Host", f"127.0.0.1:{self.port}" if host is None else host)
        connection.endheaders()
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Serves runs until the test ends."""
    with ExitStack() as stack:

        def start(*runs: Path | str) -> Served:
            server = stack.enter_context(ViewerServer(0))
            server.viewer = open_viewer(open_runs(runs), stack.enter_context(Database()), title="Runs")
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return Served(server.server_port, server.viewer)

        yield start


@pytest.fixture
def attributions(tmp_path: Path) -> Path:
    """A run of attributions of two images by two methods, with the keys of an attack's images 0 and 1."""
    run, rows, images = RunDirectory(tmp_path / "maps"), [], []
    run.update_sweep(lambda existing: {"sweep": "attribute", "seed": 0})
    for index in (0, 1):
        buffer = BytesIO()
        Image.fromarray(np.full((8, 8), 40 + index, np.uint8)).save(buffer, "PNG")
        image = {"bytes": buffer.getvalue(), "path": f"{index}.png"}
        images.append({"key": f"stored-{index}", "image": image, "image_index": index})
    file = run.put_images("shard-0", 1, rows_table(images, attribute_images()))
    schema = attribute_results((1, 8, 8))
    for index in (0, 1):
        for number, method in enumerate(("gradient", "occlusion")):
            known = {
                "sweep": "attribute",
                "model": "m",
                "model_digest": "d",
                "shard_id": "shard-0",
                "attempt": 1,
                "schema_version": SCHEMA_VERSION,
                "image_file": file,
                "image_key": f"stored-{index}",
                "dataset": "fashion_mnist",
                "split": "test",
                "image_index": index,
                "key": f"test/{index}",
                "label": index,
                "label_name": f"class {index}",
                "prediction": 0,
                "confidence": 0.5,
                "checkpoint": "trained",
                "method": method,
                "target": "predicted",
                # Red everywhere, or blue: a map's first pixel says whose it is.
                "attribution": np.full(64, -1 if number else 1, np.float16),
                "attribution_scale": 1.0,
                "batch_size": 2,
            }
            rows.append({name: known.get(name) for name in schema.names})
    run.commit("shard-0", rows_table(rows, schema), file)
    return tmp_path / "maps"
