// Sends a request as the page describes it, with the key that the console uses.
import { useState } from "../vendor/hooks.js";
import { html } from "../console/html.js";
import { parse, stringify } from "../console/json.js";
import { key } from "../console/keys.js";

const MOST = 20000;

/** The address of an operation with what was filled in. */
export function addressOf(path, parameters, values) {
  const query = new URLSearchParams();
  let address = path.replace(/^\//, "");
  for (const { name, in: where } of parameters) {
    const value = values[name] ?? "";
    if (where === "path") address = address.replace(`{${name}}`, encodeURIComponent(value));
    else if (where === "query" && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text ? `${address}?${text}` : address;
}

export function Try({ path, method, operation, body }) {
  const parameters = operation.parameters ?? [];
  const [values, setValues] = useState({});
  const [text, setText] = useState(body ?? "");
  const [answer, setAnswer] = useState(null);
  const stream = Object.values(operation.responses).some((one) => "text/event-stream" in (one.content ?? {}));
  const json = "application/json" in (operation.requestBody?.content ?? {});
  if (stream || (operation.requestBody && !json)) return null;

  async function send(event) {
    event.preventDefault();
    const headers = Object.fromEntries(parameters.filter(({ name, in: where }) => where === "header" && values[name]).map(({ name }) => [name, values[name]]));
    if (key.value) headers["x-api-key"] = key.value;
    if (json) headers["content-type"] = "application/json";
    const began = performance.now();
    try {
      const found = await fetch(addressOf(path, parameters, values), { method, headers, body: json ? text : undefined });
      const told = await found.text();
      setAnswer({ head: `${found.status} ${found.statusText} · ${Math.round(performance.now() - began)} ms`, body: pretty(told) });
    } catch (error) {
      setAnswer({ head: "no answer", body: error.message });
    }
  }
  return html`<details class="try"><summary>Try it</summary><form onSubmit=${send} autocomplete="off">
    ${parameters.map(({ name, required, in: where }) => html`<label>${name} <input type="text" required=${required && where === "path"} value=${values[name] ?? ""} spellcheck="false" onInput=${(event) => setValues({ ...values, [name]: event.target.value })} /></label>`)}
    ${json && html`<label>Body <textarea rows=${Math.min(18, text.split("\n").length + 1)} spellcheck="false" onInput=${(event) => setText(event.target.value)} value=${text}></textarea></label>`}
    <p><button type="submit">Send ${method}</button></p>
    ${answer && html`<div role="status"><p><b>${answer.head}</b></p><pre>${answer.body}</pre></div>`}
  </form></details>`;
}

function pretty(text) {
  let shown = text;
  try { shown = stringify(parse(text), 2); } catch { /* it is text */ }
  return shown.length > MOST ? `${shown.slice(0, MOST)}\n… (${shown.length} characters)` : shown;
}
