"""Changes a setting and starts a backup by requests, with bodies that are generators."""

import json
import os

import requests

URL, TOKEN = os.environ["URL"], os.environ["REST_API_TOKEN"]
session = requests.Session()
session.headers["Authorization"] = f"Bearer {TOKEN}"


def pieces(value):
    text = json.dumps(value).encode()
    yield from (text[at : at + 7] for at in range(0, len(text), 7))


def send(method, path, value):
    answer = session.request(method, URL + path, data=pieces(value), timeout=60)
    assert answer.ok, (answer.status_code, answer.text)
    return answer.json()


print(send("PATCH", "/config", {"BACKUP_KEEP_DAYS": os.environ["DAYS"]})["config"]["BACKUP_KEEP_DAYS"]["value"])
print(send("POST", "/backup", {"databases": [os.environ["DATABASE"]]})["job_id"])
