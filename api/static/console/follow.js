// Keeps `tasks` true: one stream of events for the whole page, and none while nobody looks at it.
import { signal } from "../vendor/signals.js";
import { call, get, taskPath } from "./api.js";
import { who } from "./keys.js";
import { eventsOf } from "./stream.js";
import { ended, forgetAll, learn, tasks } from "./tasks.js";

/** Rises whenever what was loaded may be out of date: the lists load again then. */
export const missed = signal(0);

const CAUGHT_UP = 100;
const SILENT = 4000;
let last = "";
let current = null;

/** Follows until `signal` aborts; comes back by itself when the stream ends. */
async function follow(signal) {
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 2000)) {
    // A gateway may hold a stream back until it ends (Amazon API Gateway does): until an event comes, lists are asked for.
    const silent = setInterval(() => { missed.value += 1; }, SILENT);
    try {
      const answer = await call("v1/events", { signal, headers: last ? { "last-event-id": last } : {} });
      pause = 500;
      missed.value += 1;
      const told = new Set();
      for await (const event of eventsOf(answer.body)) {
        clearInterval(silent);
        if (event.id) last = event.id;
        if (event.event === "task") {
          const view = JSON.parse(event.data);
          told.add(view.id);
          learn([view]);
        } else if (event.event === "ready") catchUp(told);
        else if (event.event === "reset") missed.value += 1;
      }
    } catch (error) {
      if (signal.aborted || error.status === 401) return;
      // No stream to be had (too many are open, a proxy that cuts them): ask now and then.
      if (error.status) missed.value += 1;
    } finally {
      clearInterval(silent);
    }
    await interval(pause, signal);
  }
}

/** Asks for the tasks that were under way when the page last heard of them, and are no more: the stream began without. */
async function catchUp(told) {
  const open = [...tasks.value.values()].filter((task) => !ended(task) && !told.has(task.id)).slice(0, CAUGHT_UP);
  for (const task of open) {
    try { learn([await get(taskPath(task.id))]); } catch (error) { if (!error.status) return; }
  }
}

function interval(milliseconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}

function restart() {
  current?.abort();
  current = null;
  if (document.hidden) return;
  current = new AbortController();
  follow(current.signal);
}

export function startFollowing() {
  // A browser has six connections for all tabs of a host: a hidden page gives its own back.
  document.addEventListener("visibilitychange", restart);
  addEventListener("pagehide", () => current?.abort());
  let used;
  who.subscribe((value) => {
    if (used !== undefined && used !== value) { last = ""; forgetAll(); }
    used = value;
    restart();
  });
}
