// The web page: submits tasks, follows them, shows their images. No library, no build step.
"use strict";

const $ = (id) => document.getElementById(id);
const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const KEPT = 30;
const tasks = new Map();
let runtimes = [];
let examples = {};
let uploaded = "";

/** Calls the API and returns the answer; an error in the API's shape becomes an Error with its sentence. */
async function call(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  const key = $("key").value.trim();
  if (key) headers["x-api-key"] = key;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The API does not answer. Is it running?");
  }
  if (!answer.ok) {
    let message = `The API answered ${answer.status}.`;
    try { message = (await answer.json()).error.message; } catch { /* not in the API's shape: a proxy's page */ }
    const error = new Error(message);
    error.status = answer.status;
    throw error;
  }
  return answer;
}

function show(error) {
  $("error").textContent = error ? error.message : "";
  $("error").hidden = !error;
}

/* ---- the form ---- */

function content() {
  return JSON.parse($("content").value);
}

function write(document) {
  $("content").value = JSON.stringify(document, null, 2);
}

/** The place of the prompt, the image and the sizes in each task type's content. */
const FIELDS = {
  "text-to-image": { prompt: true, size: true },
  "image-to-image": { prompt: true, size: true, image: "init_images" },
  "extra-single-image": { image: "image" },
  "extra-batch-images": { image: "imageList" },
  "pipeline": { prompt: true },
};

function promptNode(document) {
  // The positive prompt is the text encoder that a sampler names as `positive`.
  const nodes = Object.values(document);
  const sampler = nodes.find((node) => node.inputs && Array.isArray(node.inputs.positive));
  const positive = sampler && document[sampler.inputs.positive[0]];
  return positive && typeof positive.inputs.text === "string" ? positive : undefined;
}

function fill() {
  const type = $("tasktype").value;
  const fields = FIELDS[type];
  const document = structuredClone(examples[type].task.content);
  write(document);
  $("prompt-label").hidden = !fields.prompt;
  $("image-label").hidden = !fields.image;
  $("size-row").hidden = !fields.size;
  uploaded = "";
  $("file").value = "";
  if (fields.prompt) $("prompt").value = type === "pipeline" ? promptNode(document)?.inputs.text ?? "" : document.prompt;
  if (fields.size) for (const name of ["width", "height", "steps"]) $(name).value = document[name];
  if (fields.image) {
    const found = document[fields.image];
    $("image").value = Array.isArray(found) ? found[0].data || found[0] : found;
  }
  const able = runtimes.filter((runtime) => runtime.tasktypes.includes(type));
  $("runtime").replaceChildren(...able.map((runtime) => new Option(runtime.name, runtime.name)));
}

/** Carries the simple fields into the JSON, which is what is sent. */
function carry() {
  const type = $("tasktype").value;
  const fields = FIELDS[type];
  let document;
  try { document = content(); } catch { return; }
  if (fields.prompt) {
    if (type === "pipeline") {
      const node = promptNode(document);
      if (node) node.inputs.text = $("prompt").value;
    } else document.prompt = $("prompt").value;
  }
  if (fields.size) {
    for (const name of ["width", "height", "steps"]) if ($(name).value) document[name] = Number($(name).value);
    if (Number($("batch").value) > 1) document.batch_size = Number($("batch").value);
    else delete document.batch_size;
  }
  if (fields.image) {
    const image = uploaded || $("image").value.trim();
    if (fields.image === "init_images") document.init_images = [image];
    else if (fields.image === "imageList") document.imageList = [{ data: image, name: "image.png" }];
    else document.image = image;
  }
  write(document);
}

function readFile() {
  const [file] = $("file").files;
  uploaded = "";
  if (!file) return carry();
  const reader = new FileReader();
  reader.addEventListener("load", () => { uploaded = reader.result.split(",")[1]; carry(); });
  reader.readAsDataURL(file);
}

async function submit(event) {
  event.preventDefault();
  show(null);
  let body;
  try {
    body = content();
  } catch (error) {
    $("advanced").open = true;
    return show(new Error(`The content is not JSON: ${error.message}`));
  }
  const metadata = { runtime: $("runtime").value, tasktype: $("tasktype").value, prefix: $("prefix").value.trim() };
  if ($("id").value.trim()) metadata.id = $("id").value.trim();
  $("send").disabled = true;
  try {
    const answer = await call("v1/tasks", {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": newKey() },
      body: JSON.stringify({ task: { metadata, content: body } }),
    });
    const task = await answer.json();
    remember(task.id);
    follow(task);
  } catch (error) {
    show(error);
  } finally {
    $("send").disabled = false;
  }
}

function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/* ---- the list ---- */

function remember(id) {
  const ids = [id, ...remembered().filter((other) => other !== id)].slice(0, KEPT);
  localStorage.setItem("tasks", JSON.stringify(ids));
}

function remembered() {
  try { return JSON.parse(localStorage.getItem("tasks")) || []; } catch { return []; }
}

function card(id) {
  let item = tasks.get(id);
  if (!item) {
    item = $("task-template").content.firstElementChild.cloneNode(true);
    item.querySelector(".id").textContent = id;
    item.querySelector(".cancel").addEventListener("click", () => cancel(id));
    tasks.set(id, item);
  }
  $("empty").hidden = true;
  return item;
}

function render(task) {
  const item = card(task.id);
  const ended = ENDED.has(task.status);
  const badge = item.querySelector(".badge");
  badge.textContent = task.status;
  badge.className = `badge ${task.status}`;
  const took = ended && task.timings?.generation ? ` · ${task.timings.generation.toFixed(1)} s` : "";
  const tries = task.attempts > 1 ? ` · attempt ${task.attempts}` : "";
  const when = new Date(task.submitted_at).toLocaleTimeString();
  item.querySelector(".meta").textContent = `${task.tasktype} on ${task.runtime} · ${when}${took}${tries}`;
  const cancelButton = item.querySelector(".cancel");
  cancelButton.hidden = ended;
  cancelButton.disabled = task.status === "cancelling";
  const bar = item.querySelector("progress");
  bar.hidden = ended;
  if (task.status === "queued" || task.progress == null) bar.removeAttribute("value");
  else bar.value = task.progress;
  problem(item, task.error ? task.error.message : "");
  const images = task.images || [];
  item.querySelector(".images").replaceChildren(...images.map((image) => picture(image, task.id)));
  const links = item.querySelector(".links");
  links.replaceChildren();
  if (task.output) {
    const link = document.createElement("a");
    link.href = task.output.url;
    link.textContent = "full answer";
    links.append(link, ` · ${task.output_location}`);
  }
}

function picture(image, id) {
  const link = document.createElement("a");
  link.href = image.url;
  link.target = "_blank";
  link.rel = "noopener";
  if (/\.(mp4|webm)$/.test(image.s3)) {
    const video = document.createElement("video");
    video.src = image.url;
    video.controls = true;
    link.append(video);
  } else if (/\.(png|jpe?g|gif|webp)$/.test(image.s3)) {
    const shown = document.createElement("img");
    shown.src = image.url;
    shown.alt = `result of ${id}`;
    shown.loading = "lazy";
    link.append(shown);
  } else link.textContent = image.s3.split("/").pop();
  return link;
}

function problem(item, message) {
  const place = item.querySelector(".problem");
  place.textContent = message;
  place.hidden = !message;
}

async function cancel(id) {
  try {
    render(await (await call(`v1/tasks/${encodeURIComponent(id)}`, { method: "DELETE" })).json());
  } catch (error) {
    problem(card(id), error.message);
  }
}

/** Follows a task by its events. EventSource cannot send x-api-key, so the stream is read by hand. */
async function follow(task, onTop = true) {
  if (onTop) { tasks.get(task.id)?.remove(); tasks.delete(task.id); }
  const item = card(task.id);
  if (onTop) $("tasks").prepend(item); else $("tasks").append(item);
  if (task.submitted_at) render({ ...task, images: [] });
  let last = "";
  for (let pause = 1000; tasks.get(task.id) === item; pause = Math.min(pause * 2, 15000)) {
    try {
      const headers = last ? { "last-event-id": last } : {};
      const answer = await call(`v1/tasks/${encodeURIComponent(task.id)}/events`, { headers });
      if (answer.status === 204) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        buffer += value;
        const blocks = buffer.split("\n\n");
        buffer = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 2)]));
          if (!fields.data) continue;
          pause = 1000;
          last = fields.id;
          const state = JSON.parse(fields.data);
          render(state);
          if (ENDED.has(state.status)) return;
        }
      }
    } catch (error) {
      // With a key, it may be there for another one.
      if (error.status === 404) return void ($("key").value.trim() ? hide(task.id) : forget(task.id));
      if (error.status === 401) return problem(item, error.message);
      problem(item, `${error.message} Trying again …`);
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}

function hide(id) {
  tasks.get(id)?.remove();
  tasks.delete(id);
  $("empty").hidden = tasks.size > 0;
}

function forget(id) {
  localStorage.setItem("tasks", JSON.stringify(remembered().filter((other) => other !== id)));
  hide(id);
}

/* ---- the runtimes ---- */

async function refreshRuntimes() {
  const known = runtimes.length;
  runtimes = (await (await call("v1/runtimes")).json()).runtimes;
  $("runtimes").replaceChildren(...runtimes.map((runtime) => {
    const entry = document.createElement("li");
    const name = document.createElement("b");
    name.textContent = runtime.name;
    const queue = runtime.queue;
    entry.append(name, queue ? ` ${queue.waiting} waiting · ${queue.in_flight} in work` : " queue unknown");
    entry.title = [runtime.type, runtime.model || (runtime.dynamic_model ? "loads models on demand" : "")].filter(Boolean).join(", ");
    return entry;
  }));
  if (!known) {
    const types = Object.keys(FIELDS).filter((type) => runtimes.some((runtime) => runtime.tasktypes.includes(type)));
    $("tasktype").replaceChildren(...types.map((type) => new Option(type, type)));
    fill();
  }
}

let watching = 0;

async function watchRuntimes() {
  const mine = ++watching;
  while (mine === watching) {
    if (!document.hidden) {
      try {
        await refreshRuntimes();
        if ($("error").dataset.from === "runtimes") { show(null); delete $("error").dataset.from; }
      } catch (error) {
        show(error);
        $("error").dataset.from = "runtimes";
        if (error.status === 401) return;
      }
    }
    await new Promise((done) => setTimeout(done, 5000));
  }
}

async function begin() {
  $("key").value = sessionStorage.getItem("key") || "";
  const described = await (await fetch("openapi.json")).json();
  const media = described.paths["/v1/tasks"].post.requestBody.content["application/json"];
  examples = Object.fromEntries(Object.entries(media.examples).map(([name, example]) => [name, example.value]));
  $("tasktype").addEventListener("change", fill);
  $("file").addEventListener("change", readFile);
  for (const id of ["prompt", "image", "width", "height", "steps", "batch"]) $(id).addEventListener("input", carry);
  $("image").addEventListener("input", () => { uploaded = ""; $("file").value = ""; });
  $("submit").addEventListener("submit", submit);
  $("key").addEventListener("change", () => {
    sessionStorage.setItem("key", $("key").value.trim());
    watchRuntimes();
    resume();
  });
  watchRuntimes();
  resume();
}

/** Follows every remembered task anew; streams that were followed before see that their card is gone, and end. */
function resume() {
  for (const item of tasks.values()) item.remove();
  tasks.clear();
  for (const id of remembered()) follow({ id }, false);
}

begin();
