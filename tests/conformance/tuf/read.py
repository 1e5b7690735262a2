"""Reads a folder of policy metadata as python-tuf does, and prints what it believes.

Usage: read.py FOLDER STATE PATH...

FOLDER holds metadata/ and targets/; STATE is what this client remembers between runs. Prints one JSON
value: the versions of the roles, and for each path the text of the document or null. Exits with 1 and the
name of the rule on standard error when python-tuf refuses.
"""

import json
import pathlib
import sys

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

SCHEME = "folder://x/"


class Folder(FetcherInterface):
    """Takes files from a folder instead of the network."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def _fetch(self, url):
        try:
            return iter([(self.folder / url.removeprefix(SCHEME)).read_bytes()])
        except FileNotFoundError as error:
            raise DownloadHTTPError(str(error), 404) from error


def read(folder, state, paths):
    state = pathlib.Path(state)
    (state / "metadata").mkdir(parents=True, exist_ok=True)
    updater = Updater(
        str(state / "metadata"),
        SCHEME + "metadata/",
        target_base_url=SCHEME + "targets/",
        fetcher=Folder(folder),
        bootstrap=(pathlib.Path(folder) / "metadata/1.root.json").read_bytes(),
    )
    updater.refresh()
    documents = {}
    for path in paths:
        target = updater.get_targetinfo(path)
        file = str(state / "document")
        if target is None:
            documents[path] = None
        else:
            updater.download_target(target, file)
            documents[path] = pathlib.Path(file).read_text()
    roles = {
        file.name.removesuffix(".json"): json.loads(file.read_text())["signed"]["version"]
        for file in (state / "metadata").glob("*.json")
    }
    return {"roles": roles, "documents": documents}


if __name__ == "__main__":
    try:
        print(json.dumps(read(sys.argv[1], sys.argv[2], sys.argv[3:])))
    except (RepositoryError, DownloadError) as refusal:
        sys.exit(f"{type(refusal).__name__}: {refusal}")
