// What this page knows of the caller's tasks. Views replace each other whole; many changes are drawn once a frame.
import { computed, signal } from "../vendor/signals.js";
import { send, taskPath } from "./api.js";

export const STATUSES = ["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "expired"];
const ENDED = new Set(["succeeded", "failed", "cancelled", "expired"]);

/** id → view; a new Map at each change. */
export const tasks = signal(new Map());
export const counts = computed(() => {
  const found = Object.fromEntries(STATUSES.map((status) => [status, 0]));
  for (const task of tasks.value.values()) found[task.status] += 1;
  return found;
});

/** The runtimes whose newest task was begun at a stand-in: an agent knows that, the API does not. */
export const fakes = computed(() => {
  const newest = {};
  for (const task of tasks.value.values()) {
    if (task.attempts && !(newest[task.runtime]?.submitted_at > task.submitted_at)) newest[task.runtime] = task;
  }
  return new Set(Object.keys(newest).filter((name) => newest[name].fake));
});

let waiting = [];

export const ended = (task) => ENDED.has(task.status);

/** Takes views in, the shortened ones of a list too. */
export function learn(views) {
  if (!waiting.length && views.length) {
    // A hidden page draws no frames, yet its tasks go on.
    if (document.hidden) setTimeout(settle, 250);
    else requestAnimationFrame(settle);
  }
  waiting.push(...views);
}

export function settle() {
  if (!waiting.length) return;
  const next = new Map(tasks.value);
  for (const view of waiting) {
    const known = next.get(view.id);
    if (known && older(view, known)) continue;
    next.set(view.id, known?.submission === view.submission ? merged(known, view) : view);
  }
  waiting = [];
  tasks.value = next;
}

/** A shortened view takes nothing away from what is known of the same state. */
function merged(known, view) {
  if (shortened(view) && !shortened(known) && known.status === view.status) return { ...view, ...known, progress: view.progress };
  return { ...known, ...view, shortened: view.shortened };
}

/** Whether it has some of the images only: a list's view, or an event of a large task. */
const shortened = (view) => Boolean(view.shortened) || (view.image_count ?? 0) > (view.images?.length ?? 0);

/** Whether a view is of a time before what is known: answers may overtake each other. */
function older(view, known) {
  if (view.submission !== known.submission) return view.submitted_at < known.submitted_at;
  return (ended(known) && !ended(view)) || (view.attempts ?? 0) < (known.attempts ?? 0);
}

export function forgetAll() {
  waiting = [];
  tasks.value = new Map();
}

export function matches(task, { status, runtime, tasktype, id }) {
  return (!status?.length || status.includes(task.status))
    && (!runtime || task.runtime === runtime)
    && (!tasktype || task.tasktype === tasktype)
    && (!id || task.id.startsWith(id));
}

export function newestFirst(one, other) {
  return one.submitted_at === other.submitted_at
    ? (one.id < other.id ? 1 : -1)
    : (one.submitted_at < other.submitted_at ? 1 : -1);
}

export async function cancel(id) {
  learn([await send("DELETE", taskPath(id))]);
}

export async function retry(id) {
  const accepted = await send("POST", taskPath(id, "/retry"));
  learn([accepted]);
  return accepted;
}
