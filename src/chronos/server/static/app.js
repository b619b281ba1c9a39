"use strict";
// Everything that comes from the server is put into the page as text, never as markup.

const EXECUTIONS_SHOWN = 30;
const RUNS_SHOWN = 12;
const JOBS_SHOWN = 200;
const REFRESH_MS = 15000;
const AGAIN_MS = 3000;
const SILENCE_MS = 45000; // the server sends a heartbeat every 15 s
const KEPT = "chronos.authorization";

const byId = (id) => document.getElementById(id);
const executions = new Map();
let jobs = [];
let upcoming = [];
let offsetMs = 0; // the server's clock against ours
let seenAt = 0; // when the server last answered
let authorization = kept();

class Locked extends Error {}

function kept() {
  try {
    return sessionStorage.getItem(KEPT) || "";
  } catch {
    return ""; // storage is switched off: then a reload asks again
  }
}

function keep(text) {
  authorization = text;
  try {
    if (text) sessionStorage.setItem(KEPT, text);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // see `kept`
  }
}

const signed = (headers) => (authorization ? { ...headers, Authorization: authorization } : headers);

function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = String(text);
  if (className) node.className = className;
  return node;
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, cache: "no-store", headers: signed({ Accept: "application/json", ...options.headers }) });
  } catch {
    const since = seenAt ? ` What you see is from ${new Date(seenAt).toLocaleTimeString([], { hour12: false })}.` : "";
    throw new Error(`The server cannot be reached.${since}`);
  }
  seenAt = Date.now();
  const date = answer.headers.get("date");
  if (date) offsetMs = Date.parse(date) + 500 - Date.now();
  const body = await answer.json();
  if (answer.status === 401) throw new Locked(body.detail || body.title);
  if (!answer.ok) throw new Error(body.detail || body.title || `HTTP ${answer.status}`);
  return body;
}

const post = (path) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });

function complain(error) {
  if (error instanceof Locked) {
    lock(authorization ? "This key is no longer taken. Sign in again." : "");
    return;
  }
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

function ago(iso) {
  const s = Math.max(0, Math.round((Date.now() + offsetMs - Date.parse(iso)) / 1000));
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} days ago`;
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
  const name = make("th", job.name, "name");
  name.scope = "row";
  if (job.description) name.append(make("span", job.description, "sub"));
  const schedule = make("td", null, "schedule");
  schedule.append(make("span", job.schedule || (job.schedules || []).join("; ") || "by other jobs", "mono"));
  if (job.timezone !== "UTC") schedule.append(make("span", job.timezone, "sub"));
  const target = make("td", job.webhook ? `${job.webhook.method} ${job.webhook.url}` : (job.target || {}).type, "target");
  target.title = target.textContent;
  const next = make("td", null, "next");
  if (job.paused) {
    next.append(pill("paused"));
    if (job.paused.reason) next.append(make("span", job.paused.reason, "sub"));
  }
  else if (job.next_run) {
    const when = make("time", until(job.next_run));
    when.dateTime = job.next_run;
    when.title = full(job.next_run);
    next.append(when);
  } else next.append(make("span", "never", "sub"));
  const runs = make("td", null, "strip");
  runs.append(runsOf(job.id));
  const act = make("td", null, "act");
  act.append(action("Run now", job, "trigger"), job.paused ? action("Resume", job, "resume") : action("Pause", job, "pause"));
  row.append(name, schedule, target, next, lastCell(job.last_execution), runs, act);
  return row;
}

function lastCell(last) {
  const cell = make("td", null, "last");
  if (!last) {
    cell.append(make("span", "not yet", "sub"));
    return cell;
  }
  cell.append(pill(last.status));
  const when = make("time", ago(last.completed_at || last.scheduled_time), "sub");
  when.dataset.past = when.dateTime = last.completed_at || last.scheduled_time;
  when.title = full(when.dateTime);
  cell.append(when);
  return cell;
}

// How far work is that its target reports about.
function progressOf(one) {
  const percent = typeof one.progress === "number" ? `${one.progress} %` : "";
  return [percent, one.message].filter(Boolean).join(": ");
}

function executionRow(one, isFresh) {
  const row = make("tr", null, isFresh ? "fresh" : "");
  const due = make("td", clock(one.scheduled_time), "due");
  due.title = full(one.scheduled_time);
  const job = make("th", one.job_name, "name");
  job.scope = "row";
  const status = make("td");
  status.append(pill(one.status));
  const far = one.status === "running" ? progressOf(one) : "";
  if (far) status.append(make("span", far, "sub"));
  const why = one.reason || one.error;
  if (why && one.status !== "success") status.append(make("span", why, "sub"));
  const answer = make("td", one.status_code === null ? "" : one.status_code);
  answer.className = "answer";
  row.append(due, job, status, make("td", one.attempt || "", "attempt"), make("td", took(one.duration_ms), "took"), answer);
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
  for (const when of document.querySelectorAll("time[datetime]")) {
    when.textContent = when.dataset.past ? ago(when.dateTime) : until(when.dateTime);
  }
  const next = jobs.filter((j) => j.next_run && !j.paused).map((j) => j.next_run).sort()[0];
  byId("tile-next").textContent = next ? until(next) : "–";
  byId("tile-next").title = next ? full(next) : "";
}

async function refresh() {
  const asked = authorization;
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
    byId("house").classList.remove("stale");
    complain((status.notes || []).length ? new Error(status.notes.join(" ")) : null);
  } catch (error) {
    if (asked !== authorization) return; // somebody has signed in or out meanwhile
    byId("house").classList.add("stale");
    complain(error);
    if (error instanceof Locked) return;
  }
  byId("house").hidden = false;
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

function state(name, text) {
  byId("live").className = `live ${name}`;
  byId("live-text").textContent = text;
}

const SHOWN = /^execution_(decided|started|retrying|progress|cancelling|finished|redriven)$/;
let lastId = "";

function take(frame) {
  const fields = {};
  for (const line of frame.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  if (fields.id) lastId = fields.id;
  if (SHOWN.test(fields.event)) remember(JSON.parse(fields.data));
  else if (fields.event) refreshSoon(); // a job has changed, or events were missed
}

// Read with fetch, because an EventSource cannot send a key.
async function read(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    frames.forEach(take);
  }
}

async function watchOnce(watching) {
  const attempt = new AbortController();
  const stop = () => attempt.abort();
  watching.signal.addEventListener("abort", stop);
  let timer = setTimeout(stop, SILENCE_MS);
  const alive = () => { clearTimeout(timer); timer = setTimeout(stop, SILENCE_MS); };
  try {
    const headers = signed({ Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) });
    const answer = await fetch("/api/v1/executions/stream", { headers, cache: "no-store", signal: attempt.signal });
    if (answer.status === 401) throw new Locked("");
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    state("on", "live");
    refreshSoon();
    await read(answer.body, alive);
  } finally {
    clearTimeout(timer);
    watching.signal.removeEventListener("abort", stop);
  }
}

let watching = null;
async function watch() {
  watching?.abort();
  const mine = watching = new AbortController();
  while (!mine.signal.aborted) {
    try {
      await watchOnce(mine);
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error instanceof Locked) { complain(error); return; }
    }
    if (mine.signal.aborted) return;
    state("off", "connection lost, trying again");
    refreshSoon();
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

function lock(why) {
  keep("");
  watching?.abort();
  clearInterval(refreshing);
  executions.clear();
  jobs = [];
  for (const id of ["house", "who", "links", "problem"]) byId(id).hidden = true;
  byId("jobs").replaceChildren();
  byId("executions").replaceChildren();
  byId("node").textContent = "";
  state("", "signed out");
  byId("door").hidden = false;
  byId("door-problem").textContent = why;
  byId("secret").focus();
}

let refreshing = 0;
async function unlock() {
  const who = await ask("/api/v1/whoami");
  byId("door").hidden = true;
  byId("door-problem").textContent = "";
  byId("who").hidden = !authorization;
  byId("links").hidden = Boolean(authorization); // a link cannot carry a key
  byId("who-name").textContent = who.name || who.id;
  state("", "connecting");
  clearInterval(refreshing);
  refreshing = setInterval(refresh, REFRESH_MS);
  refresh();
  watch();
}

async function start() {
  try {
    await unlock();
  } catch (error) {
    complain(error);
    if (error instanceof Locked) return;
    state("off", "not connected, trying again");
    setTimeout(start, AGAIN_MS);
  }
}

function basic(name, password) {
  const bytes = new TextEncoder().encode(`${name}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = byId("by-name").open ? byId("name").value : "";
  const secret = byId("secret").value.trim();
  if (!name && !/^[\x21-\x7e]+$/.test(secret)) {
    byId("door-problem").textContent = "A key has letters, digits and underscores only; look at what was pasted.";
    return;
  }
  keep(name ? basic(name, byId("secret").value) : `Bearer ${secret}`);
  byId("secret").value = "";
  try {
    await unlock();
  } catch (error) {
    lock(error.message);
  }
});
byId("by-name").addEventListener("toggle", () => {
  byId("secret-label").textContent = byId("by-name").open ? "Password" : "API key";
});
byId("sign-out").addEventListener("click", () => lock(""));

start();
setInterval(tick, 1000);
