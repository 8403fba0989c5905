"""Documents that hypothesis-jsonschema generates (and validates, with jsonschema) in a second."""

import json
import sys
import time
import warnings

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis_jsonschema import from_schema
from jsonschema import Draft202012Validator

warnings.simplefilter("ignore")
schema = json.load(open(sys.argv[1]))
schema.pop("$schema", None)
schema.pop("$id", None)
definitions = schema.pop("$defs", {})


def inline(value):
    """The schema without references, which hypothesis-jsonschema cannot follow from inside a definition."""
    if isinstance(value, list):
        return [inline(item) for item in value]
    if not isinstance(value, dict):
        return value
    rest = {key: inline(member) for key, member in value.items() if key != "$ref"}
    if isinstance(value.get("$ref"), str):
        rest["allOf"] = rest.get("allOf", []) + [inline(definitions[value["$ref"].rsplit("/", 1)[1]])]
    return rest


schema = inline(schema)
limit = float(sys.argv[2])
validator = Draft202012Validator(schema)
count, size, start = 0, 0, None


class Done(BaseException):
    pass


@settings(max_examples=10**6, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(from_schema(schema))
def run(document):
    global count, size, start
    if start is None:
        # The first document pays for the preparation.
        start = time.perf_counter()
        return
    validator.is_valid(document)
    count += 1
    size += len(json.dumps(document))
    if time.perf_counter() - start > limit:
        raise Done


try:
    run()
except Done:
    pass
print(round(count / (time.perf_counter() - start), 1), size // count)
