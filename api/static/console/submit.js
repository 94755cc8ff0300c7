// The form for a new task. Its truth is the content that is sent; each field is a place in it.
import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { signal } from "../vendor/signals.js";
import { call, get, send, taskPath } from "./api.js";
import { Field } from "./field.js";
import { html } from "./html.js";
import { parse, stringify } from "./json.js";
import { Fake, Problem } from "./parts.js";
import { TYPES, carried, fieldsOf, isWorkflow, valueAt, withValue } from "./request.js";
import { go, place } from "./router.js";
import { runtimes } from "./runtimes.js";
import { fakes, learn } from "./tasks.js";
import { uploading } from "./upload.js";

/** What is in the form; kept while one looks elsewhere. */
const draft = signal(null);
let examples = null;

async function readExamples() {
  if (!examples) {
    const described = await get("openapi.json", { cache: "default" });
    const media = described.paths["/v1/tasks"].post.requestBody.content["application/json"];
    examples = Object.fromEntries(Object.entries(media.examples).map(([name, { value }]) => [name, value.task.content]));
  }
  return examples;
}

/** The sample picture's address, which needs no network where the deployment has one. */
const sample = () => examples?.["image-to-image"]?.init_images?.[0] ?? "";

const able = (tasktype) => runtimes.value.filter((runtime) => runtime.tasktypes.includes(tasktype));
const types = () => TYPES.filter((type) => able(type).length && examples[type]);

function begin(tasktype, before = null) {
  const runtime = able(tasktype).find(({ name }) => name === before?.runtime)?.name ?? able(tasktype)[0]?.name ?? "";
  const fresh = examples[tasktype] ?? {};
  const of = runtimes.value.find(({ name }) => name === runtime);
  const content = before ? carried(before.content, before.fields ?? fieldsOf(before.tasktype, before.content), fresh, fieldsOf(tasktype, fresh, of)) : fresh;
  return { tasktype, runtime, content, id: before?.id ?? "", prefix: before?.prefix ?? "output", webhook: before?.webhook ?? "", fields: null, warnings: [] };
}

export function Submit() {
  const { from } = place.value.query;
  const [problem, setProblem] = useState(null);
  const known = runtimes.value.length > 0;
  useEffect(() => {
    if (!known) return;
    readExamples().then(async () => {
      if (from) draft.value = await requestOf(from);
      else if (!draft.value) draft.value = begin(types()[0]);
    }).catch(setProblem);
  }, [known, from]);
  return html`<section aria-labelledby="submit-title" class="submit">
    <h2 id="submit-title">${from ? html`Send ${from} again, edited` : "New task"}</h2>
    ${draft.value ? html`<${Form} form=${draft.value} change=${(change) => { draft.value = { ...draft.value, ...change }; }} />` : html`<${Problem} error=${problem} />`}
  </section>`;
}

async function requestOf(id) {
  const { metadata, content, left_out: gone = [] } = await get(taskPath(id, "/request"));
  return { tasktype: metadata.tasktype, runtime: metadata.runtime, content, id, prefix: metadata.prefix ?? "output", webhook: addressOf(metadata.webhook), metadata, fields: null, warnings: gone.map((place) => `${place} is a secret and was not kept: fill it in again.`) };
}

function Form({ form, change }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const again = useRef(null);
  const runtime = runtimes.value.find(({ name }) => name === form.runtime);
  const fields = form.fields ?? fieldsOf(form.tasktype, form.content, runtime);
  const set = (pointer, value) => change({ content: withValue(form.content, pointer, value) });

  async function submit(event) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    const metadata = { ...kept(form.metadata), runtime: form.runtime, tasktype: form.tasktype, prefix: form.prefix.trim() };
    if (form.id.trim()) metadata.id = form.id.trim();
    if (form.webhook.trim() !== addressOf(metadata.webhook)) metadata.webhook = form.webhook.trim() || undefined;
    const body = { task: { metadata, content: form.content } };
    const text = stringify(body);
    // Sent once, however often the button is pressed while nobody answers.
    if (again.current?.text !== text) again.current = { text, key: crypto.randomUUID?.() ?? String(Math.random()).slice(2) };
    try {
      const accepted = await send("POST", "v1/tasks", body, { "idempotency-key": again.current.key });
      again.current = null;
      learn([accepted]);
      draft.value = { ...draft.value, id: "" };
      go("tasks", { id: accepted.id });
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  }

  return html`<form id="submit" onSubmit=${submit} autocomplete="off" class="card">
    <${Drop} form=${form} change=${change} />
    <div class="row">
      <label>Task type <select id="tasktype" value=${form.tasktype} onChange=${(event) => { draft.value = begin(event.target.value, { ...form, fields }); }}>
        ${types().map((type) => html`<option key=${type} value=${type} selected=${type === form.tasktype}>${type}</option>`)}
      </select></label>
      <label>Runtime <select id="runtime" value=${form.runtime} onChange=${(event) => change({ runtime: event.target.value })}>
        ${able(form.tasktype).map(({ name }) => html`<option key=${name} value=${name} selected=${name === form.runtime}>${name}</option>`)}
      </select></label>
    </div>
    ${fakes.value.has(form.runtime) && html`<p class="faint"><${Fake} /> This runtime plays a GPU: it draws pictures, but runs no model.</p>`}
    ${form.warnings.length > 0 && html`<ul class="note">${form.warnings.map((warning) => html`<li>${warning.message ?? warning}</li>`)}</ul>`}
    <${Fields} fields=${fields.filter((field) => !form.fields || field.role)} content=${form.content} set=${set} />
    ${form.fields?.some((field) => !field.role) && html`<details><summary>All other values of the workflow</summary>
      <${Fields} fields=${form.fields.filter((field) => !field.role)} content=${form.content} set=${set} /></details>`}
    <${Raw} content=${form.content} change=${(content) => change({ content, fields: null })} />
    <div class="row">
      <label>Task id <input id="id" type="text" placeholder="made for you" value=${form.id} spellcheck="false" onInput=${(event) => change({ id: event.target.value })} /></label>
      <label>Prefix <input id="prefix" type="text" required value=${form.prefix} spellcheck="false" onInput=${(event) => change({ prefix: event.target.value })} /></label>
      <label>Webhook <input id="webhook" type="url" placeholder="https://… is told of the end" value=${form.webhook} spellcheck="false" onInput=${(event) => change({ webhook: event.target.value })} /></label>
    </div>
    <${Problem} error=${error} />
    <button type="submit" id="send" class="primary" disabled=${busy || uploading.value > 0 || !form.runtime}>Submit</button>
  </form>`;
}

function Fields({ fields, content, set }) {
  return html`<div class="fields">${fields.map((field) => html`<${Field} key=${field.pointer} field=${field} value=${valueAt(content, field.pointer)} set=${(value) => set(field.pointer, value)} sample=${sample()} />`)}</div>`;
}

const addressOf = (webhook) => (typeof webhook === "string" ? webhook : webhook?.url ?? "");

/** What of an earlier request's metadata is sent again. */
function kept(metadata = {}) {
  const { context = "", inputs, webhook } = metadata;
  return Object.fromEntries(Object.entries({ context, inputs, webhook }).filter(([, value]) => value != null));
}

/** A workflow, dropped or chosen: as ComfyUI's API form here, any other form by the API. */
function Drop({ form, change }) {
  const [over, setOver] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  if (!able("pipeline").length) return null;

  async function take(file) {
    if (!file) return;
    setBusy(true);
    setError(null);
    try { change(await workflowOf(file, form)); } catch (problem) { setError(problem); }
    setBusy(false);
  }
  return html`<div class=${`drop ${over ? "over" : ""}`} onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)}
    onDrop=${(event) => { event.preventDefault(); setOver(false); take(event.dataTransfer.files[0]); }}>
    <label>${busy ? "Reading …" : "Drop a ComfyUI workflow here, or choose one: JSON, or a picture that carries it"}
      <input id="workflow" type="file" accept=".json,application/json,image/png,image/webp" onChange=${(event) => { take(event.target.files[0]); event.target.value = ""; }} /></label>
    <${Problem} error=${error} />
  </div>`;
}

async function workflowOf(file, form) {
  const runtime = able("pipeline").find(({ name }) => name === form.runtime)?.name ?? able("pipeline").find(({ type }) => type === "comfyui")?.name ?? able("pipeline")[0].name;
  const taken = { tasktype: "pipeline", runtime, warnings: [] };
  try {
    const answer = await call(`v1/runtimes/${encodeURIComponent(runtime)}/workflow`, { method: "POST", body: file, headers: { "content-type": file.type || "application/json" } });
    const { content, fields, warnings } = parse(await answer.text());
    return { ...taken, content, fields: fields?.length ? toldApart(fields) : null, warnings: warnings ?? [] };
  } catch (error) {
    if (![404, 405].includes(error.status)) throw error;
  }
  const content = parse(await file.text().catch(() => "{}"));
  if (!isWorkflow(content)) throw new Error("This file is no workflow in API form: in ComfyUI, choose “Export (API)”.");
  return { ...taken, content, fields: null };
}

/** Names the node where several fields are called the same. */
function toldApart(fields) {
  const count = (label) => fields.filter((field) => field.label === label).length;
  return fields.map((field) => (count(field.label) > 1 ? { ...field, label: `${field.label} (node ${field.node})` } : field));
}

function Raw({ content, change }) {
  const [text, setText] = useState(null);
  const [error, setError] = useState(null);
  function take(event) {
    setText(event.target.value);
    try { change(parse(event.target.value)); setError(null); } catch (problem) { setError(new Error(`This is not JSON yet, and is not sent: ${problem.message}`)); }
  }
  return html`<details id="advanced"><summary>Whole content (JSON)</summary>
    <textarea id="content" rows="14" spellcheck="false" aria-label="Content as JSON" value=${error ? text : stringify(content, 2)} onChange=${take}></textarea>
    <${Problem} error=${error} />
  </details>`;
}
