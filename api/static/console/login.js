// Asks for an API key, and lets one change between those that this tab knows.
import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { html } from "./html.js";
import { add, asked, choose, chosen, forget, keys } from "./keys.js";

export function KeyAsked() {
  const dialog = useRef(null);
  const why = asked.value;
  useEffect(() => {
    if (why != null && !dialog.current.open) dialog.current.showModal();
    if (why == null && dialog.current.open) dialog.current.close();
  }, [why]);
  return html`<dialog ref=${dialog} aria-labelledby="key-title" onClose=${() => { asked.value = null; }}>
    ${why != null && html`<${Ask} why=${why} />`}
  </dialog>`;
}

function Ask({ why }) {
  const [name, setName] = useState(why ? chosen.value : "");
  const [value, setValue] = useState("");
  const [whose, setWhose] = useState("");
  function take(event) {
    event.preventDefault();
    if (value.trim()) add(name.trim() || whose.trim() || "my key", value.trim(), whose.trim());
  }
  return html`<form onSubmit=${take} autocomplete="off">
    <h2 id="key-title">API key</h2>
    <p>${why ? `The key “${chosen.value}” was refused: ${why}` : "This API asks for a key. It is kept in this tab, and goes with it."}</p>
    <label>Name <input id="key-name" type="text" value=${name} placeholder="such as alice" spellcheck="false" onInput=${(event) => setName(event.target.value)} /></label>
    <label>Key <input id="key" type="password" required value=${value} autocomplete="off" onInput=${(event) => setValue(event.target.value)} /></label>
    <label>Tenant, for an admin's key <input id="key-tenant" type="text" value=${whose} placeholder="whose tasks to look at; empty: its own" spellcheck="false" onInput=${(event) => setWhose(event.target.value)} /></label>
    <p class="row"><button type="submit" class="primary">Use this key</button>
      <button type="button" onClick=${() => { asked.value = null; }}>Not now</button></p>
  </form>`;
}

export function KeyChoice() {
  const named = keys.value;
  if (!named.length) return html`<button type="button" class="quiet" onClick=${() => { asked.value = ""; }}>API key</button>`;
  function take(event) {
    const { value } = event.target;
    event.target.value = chosen.value;
    if (value === "+") asked.value = "";
    else if (value === "-") forget(chosen.value);
    else choose(value.slice(1));
  }
  return html`<label class="key-choice"><span class="unseen">API key</span><select id="key-choice" aria-label="API key" value=${`=${chosen.value}`} onChange=${take}>
    ${named.map(({ name, tenant }) => html`<option key=${name} value=${`=${name}`} selected=${name === chosen.value}>${name}${tenant && name !== tenant ? ` (${tenant})` : ""}</option>`)}
    <option value="+">another key …</option><option value="-">forget this key</option>
  </select></label>`;
}
