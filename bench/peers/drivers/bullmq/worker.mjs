// BullMQ: delayed jobs, or job schedulers for recurring ones, and one worker in this process; argv: what is asked.

import { readFileSync } from "node:fs";
import { Queue, Worker } from "bullmq";

const AT_ONCE = 64;
const BATCH = 500;
const work = JSON.parse(readFileSync(process.argv.at(-1)));
const { hostname: host, port } = new URL(work.store);
const connection = { host, port: Number(port) };

async function fire(job) {
  // A job of a scheduler has the instant that it is for as the last part of its id.
  const due = job.data.due ?? Number(job.id.split(":").at(-1));
  const at = new Date(due).toISOString();
  const headers = { "X-Chronos-Scheduled-Time": at, "Webhook-Id": `${job.data.job}-${at}`, "X-Chronos-Job-Id": job.data.job };
  const answer = await fetch(work.url, { method: "POST", body: "{}", headers });
  await answer.arrayBuffer(); // so that the connection is used again
  if (!answer.ok) throw new Error(`the target answered ${answer.status}`);
}

const queue = new Queue("fire", { connection });
if (work.shape === "every-second") {
  for (let number = 0; number < work.jobs; number++) {
    const job = `job-${number}`;
    await queue.upsertJobScheduler(job, { pattern: "* * * * * *" }, { name: "fire", data: { job } });
  }
} else {
  const instants = work.dues.map((due) => Math.round(due * 1000));
  for (let first = 0; first < instants.length; first += BATCH) {
    const timestamp = Date.now();
    const some = instants.slice(first, first + BATCH).map((due, index) => ({
      name: "fire",
      data: { job: `job-${first + index}`, due },
      opts: { timestamp, delay: Math.max(0, due - timestamp) },
    }));
    await queue.addBulk(some);
  }
}
const worker = new Worker("fire", fire, { connection, concurrency: AT_ONCE });
worker.on("failed", (job, error) => console.error(`${job?.id}: ${error.message}`));
await worker.waitUntilReady();
console.log("ready");
