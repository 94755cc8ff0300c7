// One task's page: what was asked, what became of it, and what can be done with it.
import { useState } from "../vendor/hooks.js";
import { alive, get, send, taskPath } from "./api.js";
import { Heard } from "./callbacks.js";
import { clock } from "./format.js";
import { missed } from "./follow.js";
import { html } from "./html.js";
import { stringify } from "./json.js";
import { key, tenant } from "./keys.js";
import { Result } from "./media.js";
import { Action, Badge, Fake, Problem, Progress, usePolled } from "./parts.js";
import { describe } from "./request.js";
import { go, place, to } from "./router.js";
import { callbacksOf, linesOf, local, sink } from "./sink.js";
import { cancel, ended, learn, retry, tasks } from "./tasks.js";
import { Timeline } from "./timeline.js";
import { dollars } from "./usage.js";

const SLOW = 10000;

export function TaskPage() {
  const { id } = place.value;
  const task = tasks.value.get(id);
  const over = task ? ended(task) : false;
  // The stream may tell less than the whole: the whole is asked for at the start and at the end.
  const { error } = usePolled(async (options) => {
    const view = await get(taskPath(id), options);
    learn([view]);
    return view;
  }, over ? 0 : SLOW, [id, key.value, over, missed.value, task?.submission]);
  if (error?.status === 404) return html`<section><h2>${id}</h2><p class="empty">There is no such task${key.value ? " for this API key" : ""}. <a href=${to("tasks")}>All tasks</a></p></section>`;
  if (!task) return html`<section><h2>${id}</h2><${Problem} error=${error?.status ? error : null} />${!error && html`<p class="faint">Looking …</p>`}</section>`;
  const tags = Object.entries(task.tags ?? {}).map(([name, value]) => `${name}=${value}`).join(", ");
  return html`<section aria-labelledby="task-title" class="one">
    <p class="back"><a href=${to("tasks")}>← all tasks</a></p>
    <div class="title"><h2 id="task-title">${task.id}</h2><${Badge} status=${task.status} />${task.fake && html`<${Fake} />`}<${Deeds} task=${task} /></div>
    <p class="faint">${task.tasktype} on <a href=${to("tasks", { query: { runtime: task.runtime } })}>${task.runtime}</a>${" · "}${task.attempts > 1 ? `attempt ${task.attempts}` : task.attempts === 1 ? "first attempt" : "not begun"}${task.tenant ? ` · tenant ${task.tenant}` : ""} · submission <code>${task.submission}</code>${task.environment && html` · <span title=${task.environment}>environment <code>${task.environment.slice(0, 12)}</code></span>`}${tags && ` · tags ${tags}`}</p>
    <${Progress} task=${task} />
    <${Why} task=${task} />
    <${Results} task=${task} />
    <div class="card"><h3>Time</h3><${Timeline} task=${task} />${task.cost && html`<p class="faint">${task.cost.gpu_seconds.toFixed(1)} GPU seconds, <a href=${to("usage")}>cost</a> ${dollars(task.cost.usd)} (${task.cost.source})</p>`}</div>
    <${Request} task=${task} />
    ${task.webhook && html`<${Deliveries} task=${task} over=${over} />`}
    <${Callbacks} task=${task} over=${over} />
    <${Lines} task=${task} />
    <${Earlier} task=${task} />
    <details class="card"><summary>The API's answer</summary><pre>${stringify(task, 2)}</pre></details>
  </section>`;
}

function Deeds({ task }) {
  if (!ended(task)) return task.status === "cancelling" ? null : html`<${Action} label="Cancel" name=${`Cancel ${task.id}`} run=${() => cancel(task.id)} />`;
  if (tenant.value) return null; // what an admin submits is his own tenant's
  return html`<${Action} kind=${task.status === "succeeded" ? "" : "primary"} label="Retry" name=${`Retry ${task.id}`} run=${() => retry(task.id)} />
    <button type="button" onClick=${() => go("submit", { query: { from: task.id } })}>Edit and send</button>`;
}

function Why({ task }) {
  const { error, warnings = [], dead_lettered: dead, callback_error: unheard } = task;
  return html`
    ${task.status === "cancelled" && html`<p class="note cancelled">Cancelled${task.attempts ? "" : " before it began"}: somebody asked for it. Nothing went wrong.</p>`}
    ${error && task.status !== "cancelled" && html`<p class="problem"><code>${error.code}</code> ${error.message}</p>`}
    ${dead && html`<p class="note">Its message is among the <a href=${to("runtimes")}>dead letters</a>, and can be sent back from there.</p>`}
    ${unheard && html`<p class="problem">Its callback was refused: <code>${unheard.code}</code> ${unheard.message}</p>`}
    ${warnings.length > 0 && html`<ul class="note">${warnings.map((warning) => html`<li>${warning}</li>`)}</ul>`}`;
}

function Results({ task }) {
  const { images = [], output } = task;
  if (!images.length && !output) return null;
  return html`<div class="card"><h3>Results</h3>
    <div class="results">${images.map((image) => html`<${Result} key=${image.s3} result=${image} task=${task} />`)}</div>
    <p class="faint">${output && html`<a href=${output.url} target="_blank" rel="noopener">the runtime's full answer</a> · `}<code>${task.output_location}</code></p>
  </div>`;
}

function Request({ task }) {
  const { value, error } = usePolled((options) => get(taskPath(task.id, "/request"), options), 0, [task.id, task.submission, key.value]);
  if (error?.code === "unknown_route") return null;
  return html`<div class="card"><h3>Request</h3>
    ${error && html`<p class="faint">${error.message}</p>`}
    ${value && html`<dl class="facts">${describe(value.content).map(({ label, value: told }) => html`<div><dt>${label}</dt><dd>${told}</dd></div>`)}</dl>
      <details><summary>as it was sent</summary><pre>${stringify(value, 2)}</pre></details>`}
  </div>`;
}

/** What was delivered to the webhook of a task that has one. */
function Deliveries({ task, over }) {
  const { value } = usePolled((options) => get(taskPath(task.id, "/deliveries"), options), over ? 5000 : 2000, [task.id, task.submission, key.value]);
  const deliveries = value?.deliveries ?? [];
  if (!deliveries.length) return null;
  const again = (number) => send("POST", taskPath(task.id, `/deliveries/${encodeURIComponent(number)}/redeliver`));
  return html`<div class="card"><h3>Webhook</h3><div class="scroll"><table>
    <thead><tr><th>Event</th><th>State</th><th>Last try</th><th>Tries</th><th>Happened</th><th><span class="unseen">Do</span></th></tr></thead>
    <tbody>${deliveries.map((one) => html`<tr key=${one.n}>
      <td>${one.type}</td><td>${one.state}${one.next_try ? `, next try ${clock(one.next_try)}` : ""}</td><td>${tried(one.tries)}</td>
      <td>${one.attempts}</td><td>${clock(one.at)}</td>
      <td><${Action} label="Send again" name=${`Send ${one.type} again`} run=${() => again(one.n)} /></td>
    </tr>`)}</tbody></table></div></div>`;
}

/** The newest of some tries, in words. */
function tried(tries = []) {
  const newest = [...tries].sort((one, other) => (one.at < other.at ? 1 : -1))[0];
  return newest ? [newest.status, newest.error, clock(newest.at)].filter(Boolean).join(" · ") : "";
}

function Callbacks({ task, over }) {
  const { value } = usePolled(async (options) => (sink ? callbacksOf(task, options) : []), over && alive.value ? 3000 : 0, [task.id, task.submission, over]);
  if (!value?.length) return null;
  return html`<div class="card"><h3>Callbacks</h3><ol class="plain">${value.map((heard, index) => html`<li key=${index}><${Heard} heard=${heard} pictures=${false} /></li>`)}</ol></div>`;
}

/** What the parts said of a task: the harness tells it; elsewhere the lines lie in other places. */
function Lines({ task }) {
  const [open, setOpen] = useState(false);
  const { value, error } = usePolled(async (options) => (local && open ? linesOf(task, options) : null), open && local ? 3000 : 0, [task.id, open]);
  return html`<details class="card" onToggle=${(event) => setOpen(event.currentTarget.open)}><summary>Log lines</summary>
    ${error && html`<p class="faint">They cannot be had now.</p>`}
    ${value?.lines && (value.lines.length
      ? html`<pre>${value.lines.map(({ part, line }) => `${part} │ ${line}\n`)}</pre>`
      : html`<p class="faint">No line names it. The newest 20,000 lines of all parts are remembered, while this stack runs.</p>`)}
    ${(!local || value?.elsewhere) && html`<${Elsewhere} id=${task.id} />`}
  </details>`;
}

function Elsewhere({ id }) {
  const [where, query] = local
    ? ["In a terminal, in the folder of compose.yaml:", `docker compose logs --no-color | grep -wF -- ${quoted(id)}`]
    : ["In CloudWatch Logs Insights, over the log groups of this deployment:", `fields @timestamp, @logStream, @message | filter @message like ${JSON.stringify(id)} | sort @timestamp`];
  return html`<p class="faint">${where}</p><pre>${query}</pre>`;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function Earlier({ task }) {
  const { value } = usePolled((options) => get(taskPath(task.id, "/submissions"), options), 0, [task.id, task.submission, key.value]);
  const earlier = (value?.submissions ?? []).filter((one) => one.submission !== task.submission);
  if (!earlier.length) return null;
  return html`<div class="card"><h3>Earlier submissions</h3><ol class="plain">${earlier.map((one) => html`<li key=${one.submission}>
    <${Badge} status=${one.status} /> <span class="faint">${clock(one.submitted_at)} · <code>${one.submission}</code></span>
    ${one.error && html` <code>${one.error.code}</code> ${one.error.message}`}
    ${(one.images ?? []).length > 0 && html`<div class="results small">${one.images.map((image) => html`<${Result} key=${image.s3} result=${image} task=${one} />`)}</div>`}
  </li>`)}</ol></div>`;
}
