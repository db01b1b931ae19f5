"""Drives every method of backupgram.client.BackupgramClient against a daemon, and compares when schedules come next."""

import gzip
import json
import os
import sys
import time
from datetime import datetime, timezone
from hashlib import sha256
from types import SimpleNamespace
from zoneinfo import ZoneInfo

from backupgram.client import BackupgramAPIError, BackupgramClient
from backupgram.schedule import next_run

URL, TOKEN, DATABASE = os.environ["URL"], os.environ["REST_API_TOKEN"], os.environ["DATABASE"]
called = set()


class Observed(BackupgramClient):
    def __getattribute__(self, name):
        called.add(name)
        return super().__getattribute__(name)


def refused(status, method, *args, **options):
    """Sees that a call fails with this status, and answers the sentence."""
    try:
        method(*args, **options)
    except BackupgramAPIError as error:
        assert error.status == status, error
        return error.message
    raise AssertionError(f"{method.__name__} {args} {options} was not refused")


def succeeded(client, job_id):
    deadline = time.monotonic() + 100
    while (job := client.get_job(job_id))["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    assert (job["state"], job["exit_code"], job["error"]) == ("succeeded", 0, ""), job
    return job


def read(client):
    assert client.reachable()
    status = client.status()
    assert status["schedule"] == "@yearly" and status["cluster"] is False, status
    assert status["last_backup"]["status"] == "OK" and status["last_backup"]["age_seconds"] >= 0, status
    for client_without in (Observed("http://127.0.0.1:1", TOKEN), Observed("nonsense", TOKEN)):
        assert not client_without.reachable()
    stranger = Observed(URL, "wrong")
    assert stranger.reachable()
    assert "token" in refused(401, stranger.status)
    stranger.close()


def back_up(client):
    """Answers a backup as it is listed."""
    job_id = client.trigger_backup()["job_id"]
    job = succeeded(client, job_id)
    assert job["type"] == "backup" and job["log_tail"], job
    assert client.list_jobs()[0]["id"] == job_id
    assert "job" in refused(404, client.get_job, "0000000000000000")
    backups = client.list_backups()
    assert {backup["slot"] for backup in backups} == {"last", "daily", "weekly", "monthly"}, backups
    newest = next(backup for backup in backups if "alias_of" not in backup)
    assert newest["slot"] == "last" and abs(time.time() - newest["mtime"]) < 100, newest
    return newest


def download(client, backup):
    content = b"".join(client.iter_backup(backup["slot"], backup["name"], chunk_size=1000))
    assert (len(content), sha256(content).hexdigest()) == (backup["size"], backup["sha256"])
    assert b"PostgreSQL database dump complete" in gzip.decompress(content)
    assert "nosuch" in refused(404, lambda: list(client.iter_backup("last", "nosuch.sql.gz")))


def restore(client, backup):
    file = f"{backup['slot']}/{backup['name']}"
    job = client.restore(file=file, target_db=f"{DATABASE}_by_file")
    assert succeeded(client, job["job_id"])["type"] == "restore"
    job = client.restore(telegram_message_id=os.environ["MESSAGE"], target_db=f"{DATABASE}_by_message")
    succeeded(client, job["job_id"])
    assert "confirm" in refused(400, client.restore, file=file, target_db="x", confirm=False)
    assert "target_db" in refused(400, client.restore, file=file, target_db="a-b")
    assert "nosuch" in refused(404, client.restore, file="last/nosuch", target_db="x")
    refused(None, client.restore, target_db="x")


def configure(client):
    config = client.get_config()
    assert config["SCHEDULE"] == {"value": "@yearly", "source": "base"}, config
    assert config["WEBHOOK_URL"] == {"set": False, "source": "base"}, config
    assert config["TELEGRAM_UPLOAD_METHOD"]["value"] == "smart", config
    client.patch_config({"BACKUP_KEEP_DAYS": "14", "WEBHOOK_URL": "http://127.0.0.1:1/"})
    config = client.get_config()
    assert config["BACKUP_KEEP_DAYS"] == {"value": "14", "source": "override"}, config
    assert config["WEBHOOK_URL"] == {"set": True, "source": "override"}, config
    for key in ("BACKUP_KEEP_DAYS", "WEBHOOK_URL"):
        client.delete_config(key)
        refused(404, client.delete_config, key)
    assert "BACKUP_KEEP_DAYS" in refused(400, client.patch_config, {"BACKUP_KEEP_DAYS": "many"})
    assert "POSTGRES_HOST" in refused(403, client.patch_config, {"POSTGRES_HOST": "elsewhere"})


def schedules_in_force(client):
    for schedule in ("*/7 * * * *", "@hourly", "30 4 * * 1-5", "0 0 1,15 * 7", "5 6-22/4 */9 2-11 *"):
        client.patch_config({"SCHEDULE": schedule})
        before = datetime.now(timezone.utc)
        status = client.status()
        after = datetime.now(timezone.utc)
        assert status["schedule"] == schedule, status
        here = [next_run(schedule, base) for base in (before, after)]
        assert datetime.fromisoformat(status["next_run"]) in here, (status, here)
    client.delete_config("SCHEDULE")


def schedules_of_the_real_scheduler(path):
    """The client and the rows that our schedules agree with. It says of itself that it does not know them all."""
    known = 0
    for line in open(path):
        row = json.loads(line)
        base = datetime.fromisoformat(row["from"]).astimezone(ZoneInfo(row["tz"]) if row["tz"] else timezone.utc)
        answer = next_run(row["schedule"], base.replace(tzinfo=None))
        if answer is None or not row["valid"] or row["crosses_dst"]:
            continue
        # To the scheduler `5/15` goes on to the end of the hour, and `*/1` for a day is as good as `*`.
        fields = row["schedule"].split()
        if fields[0] == "5/15" or "*/1" in fields[2::2]:
            continue
        known += 1
        wanted = datetime.fromisoformat(row["next"][0]).astimezone(base.tzinfo).replace(tzinfo=None)
        assert answer == wanted, (row, answer)
    assert known > 100, known


with Observed.from_server(SimpleNamespace(base_url=f"{URL}/", token=TOKEN, verify_tls=True, timeout=30)) as client:
    read(client)
    backup = back_up(client)
    download(client, backup)
    restore(client, backup)
    configure(client)
    schedules_in_force(client)
    schedules_of_the_real_scheduler(sys.argv[1])
    assert client.delete_backup(backup["slot"], backup["name"]) == {"deleted": backup["name"]}
    assert backup["name"] in refused(404, client.delete_backup, backup["slot"], backup["name"])
# The way to this very client, which no client is asked for.
methods = {name for name in vars(BackupgramClient) if not name.startswith("_")} - {"from_server"}
assert methods <= called, methods - called
