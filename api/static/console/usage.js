// What tasks have cost: sums of the last hours or days, where the agents know the price of a GPU.
import { useState } from "../vendor/hooks.js";
import { get } from "./api.js";
import { html } from "./html.js";
import { key } from "./keys.js";
import { Problem, usePolled } from "./parts.js";

const HOUR = 3600 * 1000;
const SPANS = [["last hour", HOUR], ["last day", 24 * HOUR], ["last 30 days", 30 * 24 * HOUR]];
const EVERY = 15000;

export function dollars(usd) {
  return usd == null ? "unknown" : `$${usd < 1 ? usd.toFixed(6) : usd.toFixed(2)}`;
}

export function Usage() {
  const [span, setSpan] = useState(24 * HOUR);
  const { value, error } = usePolled((options) => {
    const from = new Date(Date.now() - span).toISOString();
    return get(`v1/usage?${new URLSearchParams({ by: "runtime,tag", from })}`, options);
  }, EVERY, [key.value, span]);
  const cells = (sum) => html`<td>${sum.tasks}</td><td>${sum.gpu_seconds.toFixed(1)}</td><td>${dollars(sum.usd)}</td>`;
  return html`<section aria-labelledby="usage-title">
    <h2 id="usage-title">Usage</h2>
    <p class="row"><label>Tasks that ended in the <select value=${span} onChange=${(event) => setSpan(Number(event.target.value))}>
      ${SPANS.map(([word, length]) => html`<option key=${word} value=${length} selected=${length === span}>${word}</option>`)}
    </select></label></p>
    ${error && html`<${Problem} error=${error} />`}
    ${value && !value.total.tasks && html`<p class="empty">Nothing is counted: no task has ended, or the agents know of no price (<code>GPU_HOUR_USD</code>).</p>`}
    ${value?.total.tasks > 0 && html`<div class="scroll"><table>
      <thead><tr><th>Runtime</th><th>Tags</th><th>Tasks</th><th>GPU seconds</th><th>Cost</th></tr></thead>
      <tbody>${value.rows.map((row) => html`<tr key=${`${row.runtime} ${row.tag}`}><td>${row.runtime}</td><td>${row.tag ?? ""}</td>${cells(row)}</tr>`)}
        ${value.rest && html`<tr><td>others</td><td></td>${cells(value.rest)}</tr>`}
        <tr><th scope="row">Together</th><td></td>${cells(value.total)}</tr></tbody>
    </table></div>`}
  </section>`;
}
