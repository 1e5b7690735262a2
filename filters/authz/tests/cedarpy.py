"""Compares decisions of the filter with those of PyPI's `cedarpy`.

    pip install cedarpy
    TAMIS_CEDAR_PAIRS=pairs.jsonl TAMIS_CEDAR_COUNT=100000 cargo test -p tamis-filter-authz -- pairs_are_written
    python3 filters/authz/tests/cedarpy.py pairs.jsonl
"""

import json
import sys

# The folder of a script comes first in the search path, and this script has the name of the package.
sys.path.pop(0)
import cedarpy

pairs = different = allowed = 0
for line in open(sys.argv[1]):
    one = json.loads(line)
    requests = [
        {
            "principal": it["principal"],
            "action": 'Action::"request"',
            "resource": 'Service::"shop/pay"',
            "context": it["context"],
        }
        for it in one["requests"]
    ]
    for request, it in zip(requests, one["requests"]):
        said = cedarpy.is_authorized(request, one["policies"], it["entities"])
        pairs += 1
        allowed += it["allow"]
        if said.diagnostics.errors or said.allowed != it["allow"]:
            different += 1
            print("different:", it, said.decision, said.diagnostics.errors, one["policies"])
print(f"{pairs} pairs, {allowed} allowed, {different} different")
sys.exit(1 if different or not pairs else 0)
