// The list of all tasks: what the API has, page by page, and what happens meanwhile.
import { useEffect, useMemo, useRef, useState } from "../vendor/hooks.js";
import { Component } from "../vendor/preact.js";
import { get } from "./api.js";
import { missed } from "./follow.js";
import { between, clock, plural, seconds } from "./format.js";
import { html } from "./html.js";
import { key } from "./keys.js";
import { Thumbnail } from "./media.js";
import { Action, Badge, Fake, Problem, Progress } from "./parts.js";
import { place, replaceQuery, to } from "./router.js";
import { runtimes } from "./runtimes.js";
import { STATUSES, cancel, counts, ended, learn, matches, newestFirst, retry, tasks } from "./tasks.js";

const PAGE = 50;
/** Requests for one page of what has to be looked for. */
const TURNS = 20;

/** Returns the tasks that a filter lets through, as many as were asked for, and how to have more. */
export function useTasks(filter) {
  const wanted = JSON.stringify(filter);
  const [more, setMore] = useState({ limit: PAGE, cursor: null, busy: true, error: null });
  /** Loads the next page; with `again`, the newest anew, and how far somebody has looked stays. */
  async function load(cursor, limit, signal, again = false) {
    setMore((before) => ({ ...before, busy: true, limit: again ? before.limit : limit }));
    try {
      // A page that has to be looked for may be short, or empty, although there is a next one.
      let next = cursor;
      for (let found = 0, turns = 0; found < PAGE && turns < TURNS && (next || !turns); turns += 1) {
        const page = await get(`v1/tasks?${asked(filter, next)}`, { signal });
        if (signal?.aborted) return;
        learn(page.tasks);
        found += page.tasks.length;
        next = page.next;
      }
      setMore((before) => ({ ...before, cursor: again && before.limit > PAGE ? before.cursor : next, busy: false, error: null }));
    } catch (error) {
      if (!signal?.aborted) setMore((before) => ({ ...before, busy: false, error }));
    }
  }
  const shown = useRef(null);
  useEffect(() => {
    const controller = new AbortController();
    shown.current = controller.signal;
    // An id is typed letter by letter.
    const timer = setTimeout(() => load(null, PAGE, controller.signal), filter.id ? 200 : 0);
    return () => { clearTimeout(timer); controller.abort(); };
  }, [wanted, key.value]);
  const loaded = useRef(missed.value);
  useEffect(() => {
    if (loaded.current === missed.value) return;
    loaded.current = missed.value;
    // What is on its way stays: the stream often begins before the first page is there.
    load(null, PAGE, shown.current, true);
  }, [missed.value]);
  const known = tasks.value;
  const all = useMemo(() => [...known.values()].filter((task) => matches(task, filter)).sort(newestFirst), [known, wanted]);
  return {
    rows: all.slice(0, more.limit),
    further: all.length > more.limit || more.cursor != null,
    busy: more.busy,
    error: more.error,
    loadMore: () => (more.cursor ? load(more.cursor, more.limit + PAGE) : setMore((before) => ({ ...before, limit: before.limit + PAGE }))),
  };
}

function asked({ status = [], runtime, tasktype, id }, cursor) {
  const query = new URLSearchParams({ limit: PAGE });
  if (status.length) query.set("status", status.join(","));
  if (runtime) query.set("runtime", runtime);
  if (tasktype) query.set("tasktype", tasktype);
  if (id) query.set("id_prefix", id);
  if (cursor) query.set("cursor", cursor);
  return query;
}

export function filterOf(query) {
  return {
    status: (query.status ?? "").split(",").filter((one) => STATUSES.includes(one)),
    runtime: query.runtime ?? "",
    tasktype: query.type ?? "",
    id: query.id ?? "",
  };
}

export function TaskList() {
  const { query } = place.value;
  const { rows, further, busy, error, loadMore } = useTasks(filterOf(query));
  const filtered = Object.keys(query).length > 0;
  return html`<section aria-labelledby="tasks-title">
    <div class="title"><h2 id="tasks-title">Tasks</h2><${Counts} /><a class="button primary" href=${to("submit")}>New task</a></div>
    <${Filters} query=${query} />
    <${Problem} error=${error?.status ? error : null} />
    ${rows.length > 0 && html`<ol class="tasks" id="tasks">${rows.map((task) => html`<${Row} key=${task.id} task=${task} />`)}</ol>`}
    ${!rows.length && !busy && !error && html`<${Nothing} filtered=${filtered} />`}
    ${!rows.length && busy && html`<p class="faint">Looking …</p>`}
    ${further && html`<button type="button" class="more" disabled=${busy} onClick=${loadMore}>Show more</button>`}
  </section>`;
}

function Nothing({ filtered }) {
  return filtered
    ? html`<p class="empty">No task is like that. <a href=${to("tasks")}>Show all</a></p>`
    : html`<p class="empty">No tasks yet. <a href=${to("submit")}>Submit one</a>: its progress and its results appear here.</p>`;
}

function Counts() {
  const { queued, running, cancelling } = counts.value;
  const text = queued + running + cancelling
    ? `${queued} waiting · ${plural(running + cancelling, "task")} at work`
    : "nothing under way";
  return html`<span class="faint" role="status">${text}</span>`;
}

function Filters({ query }) {
  const change = (name) => (event) => replaceQuery({ ...query, [name]: event.target.value.trim() });
  const types = [...new Set(runtimes.value.flatMap((runtime) => runtime.tasktypes))].sort();
  return html`<div class="filters" role="search" aria-label="Filter tasks">
    <${Choice} label="Status" value=${query.status} onChange=${change("status")}
      options=${[["queued,running,cancelling", "not ended"], ...STATUSES.map((status) => [status, status])]} />
    <${Choice} label="Runtime" value=${query.runtime} onChange=${change("runtime")} options=${runtimes.value.map(({ name }) => [name, name])} />
    <${Choice} label="Type" value=${query.type} onChange=${change("type")} options=${types.map((type) => [type, type])} />
    <label>Id begins with <input type="search" value=${query.id ?? ""} onInput=${change("id")} spellcheck="false" autocomplete="off" /></label>
  </div>`;
}

function Choice({ label, value = "", options, onChange }) {
  return html`<label>${label} <select value=${value} onChange=${onChange}>
    <option value="">any</option>
    ${options.map(([option, word]) => html`<option key=${option} value=${option} selected=${option === value}>${word}</option>`)}
  </select></label>`;
}

/** Drawn again only when its own task has changed. */
class Row extends Component {
  shouldComponentUpdate({ task }) {
    return task !== this.props.task;
  }

  render({ task }) {
    const images = task.images ?? [];
    const took = between(task.started_at, task.finished_at);
    return html`<li class=${`task ${task.status}`} data-id=${task.id}>
      <${Badge} status=${task.status} />
      <a class="id" href=${to("tasks", { id: task.id })}>${task.id}</a>
      <span class="what">${task.tasktype} on ${task.runtime}${task.fake ? html` <${Fake} />` : ""}</span>
      <span class="when">${clock(task.submitted_at)}${took == null ? "" : ` · ${seconds(took)}`}${task.attempts > 1 ? ` · attempt ${task.attempts}` : ""}</span>
      <span class="state">
        <${Progress} task=${task} />
        ${task.error && html`<span class="why" title=${task.error.message}><code>${task.error.code}</code> ${task.error.message}</span>`}
        ${images.slice(0, 4).map((image) => html`<${Thumbnail} key=${image.s3} result=${image} task=${task} />`)}
        ${images.length > 4 && html`<span class="faint">+${(task.image_count ?? images.length) - 4}</span>`}
      </span>
      <span class="do">${ended(task)
        ? task.status !== "succeeded" && html`<${Action} label="Retry" name=${`Retry ${task.id}`} run=${() => retry(task.id)} />`
        : task.status !== "cancelling" && html`<${Action} label="Cancel" name=${`Cancel ${task.id}`} run=${() => cancel(task.id)} />`}</span>
    </li>`;
  }
}
