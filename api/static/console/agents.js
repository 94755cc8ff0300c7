// The agents of a runtime, as they told of themselves last, and how busy their GPUs were in the last hour.
import { get } from "./api.js";
import { GpuChart } from "./chart.js";
import { between, clock, plural, seconds } from "./format.js";
import { html } from "./html.js";
import { key, tenant } from "./keys.js";
import { Problem, usePolled } from "./parts.js";
import { to } from "./router.js";

const EVERY = 5000;
/** An agent that has nothing new to tell says so once a minute. */
const SILENT = 75;
const WORDS = { "waiting-for-runtime": "waits for its runtime", recycling: "has its runtime restarted", ready: "idle", draining: "is ending" };

export function Agents({ runtime }) {
  const { value, error } = usePolled((options) => get(`v1/runtimes/${encodeURIComponent(runtime)}/agents`, options), EVERY, [runtime, key.value]);
  if (!value) return html`<${Problem} error=${error?.status ? error : null} />`;
  const { agents, gpu, whole } = value;
  return html`
    <${GpuChart} minutes=${gpu} label=${`GPUs of ${runtime} in the last hour`} />
    <h4>${plural(agents.length, "agent")}${!whole && " and more"}</h4>
    ${!agents.length && html`<p class="faint">None is there, or it tells nothing of itself.</p>`}
    <ul class="plain agents">${agents.map((agent) => html`<li key=${agent.id}><${Agent} agent=${agent} /></li>`)}</ul>`;
}

function Agent({ agent }) {
  const { state, reason, tasks, running, busy_seconds: busy, idle_seconds: idle } = agent;
  const hidden = running - tasks.length;
  const silent = between(agent.heard_at, new Date().toISOString());
  return html`<p>
      <span class=${`badge ${LOOKS[state] ?? "queued"}`}>${WORDS[state] ?? state}</span>
      ${tasks.map((task) => html` <${Task} key=${task.id} task=${task} own=${agent.host == null} />`)}
      ${hidden > 0 && html` <span class="faint">${plural(hidden, "task")} of others</span>`}
    </p>
    <p class="faint">${agent.host ?? agent.id}${agent.version ? ` · ${agent.version}` : ""}${agent.slots > 1 ? ` · ${agent.slots} slots` : ""} · since ${clock(agent.started_at)}${busy + idle > 0 ? ` · GPU ${Math.round((100 * idle) / (busy + idle))} % idle` : ""}${silent > SILENT ? ` · not heard of for ${seconds(silent)}` : ""}</p>
    ${reason && html`<p class="faint">${reason}</p>`}`;
}

/** An admin's key shows the page of a task while its tenant is looked at. */
function Task({ task, own }) {
  const shown = own || !task.tenant || task.tenant === tenant.value;
  return html`${shown ? html`<a class="id" href=${to("tasks", { id: task.id })}>${task.id}</a>` : html`<code>${task.id}</code>`}${!own && task.tenant && html` <span class="faint">of ${task.tenant}</span>`}`;
}

const LOOKS = { busy: "running", ready: "succeeded", failed: "failed", draining: "cancelling" };
