// The runtimes: their queues now and in the last hour, and what nobody could do.
import { useEffect, useState } from "../vendor/hooks.js";
import { signal } from "../vendor/signals.js";
import { Agents } from "./agents.js";
import { alive, get, send } from "./api.js";
import { Chart } from "./chart.js";
import { clock } from "./format.js";
import { html } from "./html.js";
import { asked, key } from "./keys.js";
import { Action, Fake, Problem, usePolled } from "./parts.js";
import { to } from "./router.js";
import { fakes } from "./tasks.js";

export const runtimes = signal([]);
/** name → [{at, waiting, in_flight}]: what this page has seen of the last hour. The API keeps no history. */
export const history = signal({});

const EVERY = 2000;
const HOUR = 3600 * 1000;
const POINT = 5000;

export async function watchRuntimes() {
  let asking = false;
  async function look() {
    if (asking || document.hidden || asked.value != null) return;
    asking = true;
    try {
      runtimes.value = (await get("v1/runtimes")).runtimes;
      remember(Date.now());
    } catch { /* the page says already that the API is away */ }
    asking = false;
  }
  key.subscribe(() => queueMicrotask(look));
  alive.subscribe((now) => { if (now) queueMicrotask(look); });
  document.addEventListener("visibilitychange", look);
  setInterval(look, EVERY);
}

function remember(at) {
  const next = {};
  for (const { name, queue } of runtimes.value) {
    const points = history.value[name] ?? [];
    const late = !points.length || at - points.at(-1).at >= POINT;
    next[name] = queue && late ? [...points.filter((point) => at - point.at < HOUR), { at, ...queue }] : points;
  }
  history.value = next;
}

export function runtimeOf(name) {
  return runtimes.value.find((runtime) => runtime.name === name);
}

export function Runtimes() {
  return html`<section aria-labelledby="runtimes-title">
    <h2 id="runtimes-title">Runtimes</h2>
    ${!runtimes.value.length && html`<p class="faint">Looking …</p>`}
    <div class="cards">${runtimes.value.map((runtime) => html`<${Card} key=${runtime.name} runtime=${runtime} />`)}</div>
    <${DeadLetters} />
  </section>`;
}

function Card({ runtime }) {
  const { name, type, model, dynamic_model: dynamic, queue, replicas, tasktypes } = runtime;
  return html`<article class="card" aria-label=${name}>
    <h3>${name} ${fakes.value.has(name) && html`<${Fake} />`}</h3>
    <p class="faint">${type}${model ? ` · ${model}` : dynamic ? " · loads the model that a request names" : ""}</p>
    ${queue ? html`<dl class="figures">
      <div><dt>waiting</dt><dd>${queue.waiting}</dd></div>
      <div><dt>at work</dt><dd>${queue.in_flight}</dd></div>
      <div><dt>delayed</dt><dd>${queue.delayed}</dd></div>
      ${replicas && html`<div title=${`By the scaling rules: ${replicas.min} to ${replicas.max}`}><dt>replicas wanted</dt><dd>${replicas.wanted}</dd></div>`}
    </dl>` : html`<p class="problem">Its queue does not answer.</p>`}
    <${Chart} points=${history.value[name] ?? []} label=${`Queue of ${name} in the last hour`} />
    <${Agents} runtime=${name} />
    <p class="faint"><a href=${to("tasks", { query: { runtime: name, status: "queued,running,cancelling" } })}>tasks not ended</a> · ${tasktypes.join(", ")}</p>
  </article>`;
}

function DeadLetters() {
  const [round, setRound] = useState(0);
  const [chosen, setChosen] = useState(new Set());
  const [outcome, setOutcome] = useState([]);
  const { value, error } = usePolled((options) => get("v1/dead-letters", options), 10000, [key.value, round]);
  useEffect(() => setChosen(new Set()), [round]);
  const letters = value?.dead_letters ?? [];
  const nameOf = ({ runtime, message_id: message }) => `${runtime}/${message}`;
  const picked = letters.filter((letter) => chosen.has(nameOf(letter)));
  async function each(method, path, these) {
    const told = [];
    for (const runtime of new Set(these.map((letter) => letter.runtime))) {
      const ids = these.filter((letter) => letter.runtime === runtime).map((letter) => letter.message_id);
      const { stayed, not_found: missing } = await send(method, path, { runtime, message_ids: ids });
      told.push(...stayed.map((one) => `${one.message_id} stayed: ${one.reason}`), ...missing.map((one) => `${one} is not there, or somebody else has it just now`));
    }
    setOutcome(told);
    setRound((before) => before + 1);
  }
  function toggle(name) {
    const next = new Set(chosen);
    if (!next.delete(name)) next.add(name);
    setChosen(next);
  }
  return html`<section aria-labelledby="dead-title" class="card">
    <h3 id="dead-title">Dead letters</h3>
    <p class="faint">Messages that no agent could bring to an end. Sent back, they are tried again.</p>
    ${error && html`<${Problem} error=${error} />`}
    ${outcome.length > 0 && html`<ul class="note" role="status">${outcome.map((line) => html`<li>${line}</li>`)}</ul>`}
    ${value && !letters.length && html`<p class="empty">None.</p>`}
    ${value?.whole === false && html`<p class="faint">There are more than the newest 100 of each runtime.</p>`}
    ${letters.length > 0 && html`<div class="scroll"><table>
      <thead><tr><th><span class="unseen">Choose</span></th><th>Task</th><th>Runtime</th><th>Reason</th><th>Attempts</th><th>Sent</th><th><span class="unseen">Do</span></th></tr></thead>
      <tbody>${letters.map((letter) => html`<tr key=${nameOf(letter)}>
        <td><input type="checkbox" aria-label=${`Choose ${letter.id ?? letter.message_id}`} checked=${chosen.has(nameOf(letter))} onChange=${() => toggle(nameOf(letter))} /></td>
        <td>${letter.id ? html`<a class="id" href=${to("tasks", { id: letter.id })}>${letter.id}</a>` : html`<code>${letter.message_id}</code>`}</td>
        <td>${letter.runtime}</td>
        <td>${letter.reason ?? "not known"}</td>
        <td>${letter.attempts ?? ""}</td>
        <td>${clock(letter.sent_at)}</td>
        <td><${Action} label="Send back" name=${`Send ${letter.id ?? letter.message_id} back`} run=${() => each("POST", "v1/dead-letters/redrive", [letter])} /></td>
      </tr>`)}</tbody>
    </table></div>
    <p class="row"><${Action} label=${picked.length ? `Send ${picked.length} back` : "Send all back"} run=${() => each("POST", "v1/dead-letters/redrive", picked.length ? picked : letters)} />
      ${picked.length > 0 && html`<${Action} kind="danger" label=${`Delete ${picked.length}`} run=${() => each("DELETE", "v1/dead-letters", picked)} />`}</p>`}
  </section>`;
}
