// Backs up and restores by openapi-fetch, with the types that openapi-typescript makes of the API's document.

import createClient from "openapi-fetch";
import type { components, paths } from "./generated.js";

declare const process: { env: Record<string, string> };
const { URL: baseUrl, REST_API_TOKEN: token, DATABASE: database, TARGET: target } = process.env;
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

type Job = components["schemas"]["Job"];

function given<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) {
    throw new Error(JSON.stringify(answer.error));
  }
  return answer.data;
}

async function finish(id: string): Promise<Job> {
  const deadline = Date.now() + 100_000;
  for (;;) {
    const job = given(await client.GET("/jobs/{id}", { params: { path: { id } } }));
    if (job.state === "succeeded" || job.state === "failed") {
      return job;
    }
    if (Date.now() > deadline) {
      throw new Error(JSON.stringify(job));
    }
    await new Promise((wake) => setTimeout(wake, 100));
  }
}

async function succeeded(accepted: { job_id: string }): Promise<void> {
  const job = await finish(accepted.job_id);
  if (job.state !== "succeeded") {
    throw new Error(JSON.stringify(job));
  }
}

await succeeded(given(await client.POST("/backup", { body: { databases: [database] } })));
await succeeded(given(await client.POST("/backup", {})));
const query = { slot: "last", database } as const;
const { backups } = given(await client.GET("/backups", { params: { query } }));
const backup = backups.find((backup) => backup.alias_of === undefined)!;
const path = { slot: backup.slot, name: backup.name };
const download = await client.GET("/backups/{slot}/{name}", { params: { path }, parseAs: "arrayBuffer" });
const content: ArrayBuffer = given(download) as unknown as ArrayBuffer;
if (content.byteLength !== backup.size) {
  throw new Error(`${content.byteLength} of ${backup.size} bytes`);
}
const body: components["schemas"]["RestoreFromFile"] = {
  file: `${backup.slot}/${backup.name}`,
  target_db: target,
  confirm: true,
};
await succeeded(given(await client.POST("/restore", { body })));
const message = { telegram_message_id: 4521, target_db: target, confirm: true } as const;
const failed = await finish(given(await client.POST("/restore", { body: message })).job_id);
if (failed.state !== "failed") {
  throw new Error(JSON.stringify(failed));
}
await succeeded(given(await client.POST("/verify", { body: { file: body.file } })));
console.log("done");
