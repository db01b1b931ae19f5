// Changes a setting and starts a backup by fetch, with bodies that are streams.

const { URL: url, REST_API_TOKEN: token, DAYS: days, DATABASE: database } = process.env;

async function* pieces(text) {
  for (const piece of text.match(/.{1,7}/g)) {
    yield new TextEncoder().encode(piece);
  }
}

async function send(method, path, body, status) {
  const answer = await fetch(url + path, {
    method,
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: ReadableStream.from(pieces(JSON.stringify(body))),
    duplex: "half",
  });
  const text = await answer.text();
  if (answer.status !== status) {
    throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  }
  return JSON.parse(text);
}

const changed = await send("PATCH", "/config", { BACKUP_KEEP_DAYS: days }, 200);
console.log(changed.config.BACKUP_KEEP_DAYS.value);
console.log((await send("POST", "/backup", { databases: [database] }, 202)).job_id);
