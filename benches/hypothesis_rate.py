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
limit = float(sys.argv[2])
validator = Draft202012Validator(schema)
count, start = 0, None


class Done(BaseException):
    pass


@settings(max_examples=10**6, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(from_schema(schema))
def run(document):
    global count, start
    if start is None:
        # The first document pays for the preparation.
        start = time.perf_counter()
        return
    validator.is_valid(document)
    count += 1
    if time.perf_counter() - start > limit:
        raise Done


try:
    run()
except Done:
    pass
print(round(count / (time.perf_counter() - start), 1))
