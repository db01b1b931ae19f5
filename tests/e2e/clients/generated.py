"""Backs up and restores by the client that openapi-python-client makes of the API's document."""

import hashlib
import os
import sys
import time

sys.path.insert(0, os.getcwd())
from generated import AuthenticatedClient
from generated.api.backups import delete_backup, download_backup, list_backups, start_backup, start_restore
from generated.api.jobs import get_job
from generated.models import (
    Error,
    JobState,
    RestoreFromFile,
    RestoreFromTelegram,
    Slot,
    StartBackupBody,
)

DATABASE = os.environ["DATABASE"]
client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["REST_API_TOKEN"])


def finish(accepted):
    deadline = time.monotonic() + 100
    while (job := get_job.sync(accepted.job_id, client=client)).state in (JobState.QUEUED, JobState.RUNNING):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    return job


def succeeded(accepted):
    job = finish(accepted)
    assert (job.state, job.error) == (JobState.SUCCEEDED, ""), job


succeeded(start_backup.sync(client=client, body=StartBackupBody(databases=[DATABASE])))
succeeded(start_backup.sync(client=client, body=StartBackupBody()))
backups = list_backups.sync(client=client, slot=Slot.LAST, database=DATABASE).backups
backup = next(backup for backup in backups if not backup.alias_of)
answer = download_backup.sync_detailed(Slot.LAST, backup.name, client=client)
content = answer.parsed.payload.read()
assert (len(content), hashlib.sha256(content).hexdigest()) == (backup.size, backup.sha256), answer.headers
file = f"last/{backup.name}"
succeeded(start_restore.sync(client=client, body=RestoreFromFile(file=file, target_db=os.environ["TARGET"], confirm=True)))
message = RestoreFromTelegram(telegram_message_id=4521, target_db=os.environ["TARGET"], confirm=True)
job = finish(start_restore.sync(client=client, body=message))
assert job.state == JobState.FAILED and "TELEGRAM_BOT_TOKEN" in job.error + str(job.log_tail), job
refused = delete_backup.sync(Slot.LAST, backup.name, client=client, confirm=True, if_match='"another"')
assert isinstance(refused, Error), refused
print("done")
