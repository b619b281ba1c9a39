"use strict";
// Everything that comes from the server is put into the page as text, never as markup.

const EXECUTIONS_SHOWN = 30;
const RUNS_SHOWN = 12;
const JOBS_SHOWN = 200;
const REFRESH_MS = 15000;

const byId = (id) => document.getElementById(id);
const executions = new Map();
let jobs = [];
let upcoming = [];
let offsetMs = 0; // the server's clock against ours

function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = String(text);
  if (className) node.className = className;
  return node;
}

async function ask(path, options) {
  const answer = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  const date = answer.headers.get("date");
  if (date) offsetMs = Date.parse(date) + 500 - Date.now();
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || body.title || `HTTP ${answer.status}`);
  return body;
}

const post = (path) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });

function complain(error) {
  const place = byId("problem");
  place.hidden = !error;
  place.textContent = error ? error.message : "";
}

function inWords(ms) {
  if (ms <= 0) return "now";
  const s = Math.round(ms / 1000);
  if (s < 60) return `in ${s} s`;
  if (s < 3600) return `in ${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 172800) return `in ${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `in ${Math.floor(s / 86400)} days`;
}

const until = (iso) => inWords(Date.parse(iso) - Date.now() - offsetMs);

function took(ms) {
  if (ms === null || ms === undefined) return "";
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

const clock = (iso) => new Date(iso).toLocaleTimeString([], { hour12: false });
const full = (iso) => new Date(iso).toLocaleString();

function pill(status) {
  const known = ["success", "failed", "running", "retrying", "pending", "skipped", "cancelled"];
  return make("span", status, `pill ${known.includes(status) ? status : ""}`);
}

function runsOf(jobId) {
  const strip = make("div", null, "runs");
  const own = [...executions.values()].filter((e) => e.job_id === jobId).sort(newestFirst).slice(0, RUNS_SHOWN).reverse();
  for (const one of own) {
    const bar = make("i", null, one.status);
    bar.title = `${full(one.scheduled_time)}: ${one.status}`;
    strip.append(bar);
  }
  strip.setAttribute("role", "img");
  strip.setAttribute("aria-label", own.length ? `Last runs, oldest first: ${own.map((e) => e.status).join(", ")}` : "No runs yet");
  return strip;
}

function newestFirst(a, b) {
  if (a.scheduled_time !== b.scheduled_time) return a.scheduled_time < b.scheduled_time ? 1 : -1;
  return a.id < b.id ? 1 : -1;
}

function action(label, job, what) {
  const button = make("button", label);
  button.type = "button";
  button.setAttribute("aria-label", `${label}: ${job.name}`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await post(`/api/v1/jobs/${encodeURIComponent(job.id)}/${what}`);
      complain(null);
    } catch (error) {
      complain(error);
    }
    button.disabled = false;
    refreshSoon();
  });
  return button;
}

function jobRow(job) {
  const row = make("tr");
  const name = make("td", job.name, "name");
  if (job.description) name.append(make("span", job.description, "sub"));
  const schedule = make("td");
  schedule.append(make("span", job.schedule || (job.schedules || []).join("; ") || "by other jobs", "mono"));
  if (job.timezone !== "UTC") schedule.append(make("span", job.timezone, "sub"));
  const target = make("td", job.webhook ? `${job.webhook.method} ${job.webhook.url}` : (job.target || {}).type, "target");
  target.title = target.textContent;
  const next = make("td");
  if (job.paused) next.append(pill("paused"));
  else if (job.next_run) {
    const when = make("time", until(job.next_run));
    when.dateTime = job.next_run;
    when.title = full(job.next_run);
    next.append(when);
  } else next.append(make("span", "never", "sub"));
  const runs = make("td");
  runs.append(runsOf(job.id));
  const act = make("td", null, "act");
  act.append(action("Run now", job, "trigger"), job.paused ? action("Resume", job, "resume") : action("Pause", job, "pause"));
  row.append(name, schedule, target, next, runs, act);
  return row;
}

function executionRow(one, isFresh) {
  const row = make("tr", null, isFresh ? "fresh" : "");
  const due = make("td", clock(one.scheduled_time));
  due.title = full(one.scheduled_time);
  const job = make("td", one.job_name, "name");
  const status = make("td");
  status.append(pill(one.status));
  const why = one.reason || one.error;
  if (why && one.status !== "success") status.append(make("span", why, "sub"));
  const answer = make("td", one.status_code === null ? "" : one.status_code);
  row.append(due, job, status, make("td", one.attempt || ""), make("td", took(one.duration_ms)), answer);
  return row;
}

let shownIds = new Set();

function draw() {
  // A button somebody is about to press must not move away under the finger.
  if (!byId("jobs").contains(document.activeElement)) byId("jobs").replaceChildren(...jobs.map(jobRow));
  byId("no-jobs").hidden = jobs.length > 0;
  const newest = [...executions.values()].sort(newestFirst).slice(0, EXECUTIONS_SHOWN);
  const isFirst = shownIds.size === 0;
  byId("executions").replaceChildren(...newest.map((one) => executionRow(one, !isFirst && !shownIds.has(`${one.id} ${one.status}`))));
  shownIds = new Set(newest.map((one) => `${one.id} ${one.status}`));
  byId("no-executions").hidden = newest.length > 0;
  tick();
}

function tick() {
  for (const when of document.querySelectorAll("time[datetime]")) when.textContent = until(when.dateTime);
  const next = jobs.filter((j) => j.next_run && !j.paused).map((j) => j.next_run).sort()[0];
  byId("tile-next").textContent = next ? until(next) : "–";
  byId("tile-next").title = next ? full(next) : "";
}

async function refresh() {
  try {
    const [jobPage, runPage, status] = await Promise.all([
      ask(`/api/v1/jobs?limit=${JOBS_SHOWN}`),
      ask("/api/v1/executions?limit=100"),
      ask("/api/v1/cluster/status"),
    ]);
    jobs = jobPage.jobs;
    executions.clear();
    for (const one of runPage.executions) executions.set(one.id, one);
    const more = byId("more-jobs");
    more.hidden = !jobPage.next_cursor;
    more.textContent = jobPage.next_cursor ? `The first ${jobs.length} of ${jobPage.total} jobs, by name.` : "";
    byId("tile-jobs").textContent = jobPage.total ?? jobs.length;
    byId("tile-running").textContent = status.running;
    byId("tile-dead").textContent = status.dead_letters;
    byId("node").textContent = `${status.node_id} · term ${status.term}`;
    byId("version").textContent = `Chronos ${status.version}`;
    complain(null);
  } catch (error) {
    complain(error);
  }
  draw();
}

let waiting = 0;
function refreshSoon() {
  if (!waiting) waiting = setTimeout(() => { waiting = 0; refresh(); }, 400);
}

let drawing = 0;
function drawSoon() {
  if (!drawing) drawing = setTimeout(() => { drawing = 0; draw(); }, 100);
}

function remember(one) {
  executions.set(one.id, one);
  if (executions.size > 500) {
    for (const old of [...executions.values()].sort(newestFirst).slice(300)) executions.delete(old.id);
  }
  byId("tile-running").textContent = [...executions.values()].filter((e) => e.status === "running").length;
  const job = jobs.find((j) => j.id === one.job_id);
  // The list says what comes after; asking once per finished run would be asking too often.
  if (job && job.next_runs) {
    job.next_runs = job.next_runs.filter((run) => Date.parse(run) > Date.now() + offsetMs);
    job.next_run = job.next_runs[0] ?? null;
    if (job.next_runs.length < 2 && !job.paused) refreshSoon();
  }
  drawSoon();
}

function watch() {
  const source = new EventSource("/api/v1/executions/stream");
  const state = (name, text) => { byId("live").className = `live ${name}`; byId("live-text").textContent = text; };
  source.onopen = () => { state("on", "live"); refreshSoon(); };
  source.onerror = () => {
    state("off", "connection lost, trying again");
    if (source.readyState === EventSource.CLOSED) { source.close(); setTimeout(watch, 3000); }
  };
  for (const type of ["decided", "started", "retrying", "cancelling", "finished", "redriven"]) {
    source.addEventListener(`execution_${type}`, (event) => remember(JSON.parse(event.data)));
  }
  for (const type of ["created", "updated", "deleted", "paused", "resumed"]) source.addEventListener(`job_${type}`, refreshSoon);
  source.addEventListener("gap", refreshSoon);
}

refresh();
watch();
setInterval(tick, 1000);
setInterval(refresh, REFRESH_MS);
