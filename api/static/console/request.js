// What of a request's content is worth a field of its own, by JSON Pointers (RFC 6901) into it. Pure.
import { stringify } from "./json.js";

const SAMPLERS = ["Euler a", "Euler", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM2", "DDIM", "LMS", "Heun", "UniPC"];

const PROMPT = { role: "prompt", pointer: "/prompt", label: "Prompt", type: "text" };
const NEGATIVE = { role: "negative", pointer: "/negative_prompt", label: "Negative prompt", type: "text", short: true };
const MODEL = { pointer: "/override_settings/sd_model_checkpoint", label: "Model", type: "string", dynamic: true, wide: true, placeholder: "the runtime's own" };
const DRAWING = [
  { role: "width", pointer: "/width", label: "Width", type: "integer", min: 64, max: 4096, step: 8 },
  { role: "height", pointer: "/height", label: "Height", type: "integer", min: 64, max: 4096, step: 8 },
  { role: "steps", pointer: "/steps", label: "Steps", type: "integer", min: 1, max: 200 },
  { role: "batch", pointer: "/batch_size", label: "Images", type: "integer", min: 1, max: 64 },
  { role: "seed", pointer: "/seed", label: "Seed", type: "integer", min: -1, placeholder: "random" },
  { role: "cfg", pointer: "/cfg_scale", label: "CFG scale", type: "number", min: 0, max: 50, step: 0.5 },
  { role: "sampler", pointer: "/sampler_name", label: "Sampler", type: "string", suggestions: SAMPLERS, placeholder: "the server's" },
];

const FIELDS = {
  "text-to-image": [PROMPT, NEGATIVE, ...DRAWING, MODEL],
  "image-to-image": [
    PROMPT, NEGATIVE,
    { role: "file", pointer: "/init_images/0", label: "Input image", type: "file" },
    ...DRAWING,
    { pointer: "/denoising_strength", label: "Denoising", type: "number", min: 0, max: 1, step: 0.05 },
    MODEL,
  ],
  "extra-single-image": [
    { role: "file", pointer: "/image", label: "Input image", type: "file" },
    { pointer: "/upscaling_resize", label: "Scale", type: "number", min: 1, max: 8, step: 0.5 },
    { pointer: "/upscaler_1", label: "Upscaler", type: "string", wide: true },
  ],
  "extra-batch-images": [
    { role: "file", pointer: "/imageList/0/data", label: "Input image", type: "file" },
    { pointer: "/upscaling_resize", label: "Scale", type: "number", min: 1, max: 8, step: 0.5 },
    { pointer: "/upscaler_1", label: "Upscaler", type: "string", wide: true },
  ],
};

export const TYPES = [...Object.keys(FIELDS), "pipeline"];

/** The fields of a content; `runtime` is as /v1/runtimes has it. */
export function fieldsOf(tasktype, content, runtime) {
  if (isWorkflow(content)) return workflowFields(content);
  return (FIELDS[tasktype] ?? []).filter((field) => !field.dynamic || runtime?.dynamic_model);
}

export function isWorkflow(content) {
  const nodes = Object.values(content ?? {});
  return nodes.length > 0 && nodes.every((node) => node && typeof node === "object" && typeof node.class_type === "string");
}

const WORDS = { text: "Text", seed: "Seed", noise_seed: "Seed", width: "Width", height: "Height", steps: "Steps", cfg: "CFG scale", batch_size: "Images", sampler_name: "Sampler", image: "Input image", ckpt_name: "Model", denoise: "Denoising" };
const ROLES = { seed: "seed", noise_seed: "seed", width: "width", height: "height", steps: "steps", cfg: "cfg", batch_size: "batch", image: "file" };
const LOADERS = /^Load(Image|Video|Audio)|Load.*(Image|Mask)/;

/** What people change of a workflow in API form, where nobody told its fields. */
export function workflowFields(content) {
  const found = [];
  for (const [id, node] of Object.entries(content)) {
    for (const [name, value] of Object.entries(node.inputs ?? {})) {
      if (!(name in WORDS) || Array.isArray(value) || (name === "image" && !LOADERS.test(node.class_type))) continue;
      const role = name === "text" ? textRole(content, id) : ROLES[name];
      const label = { prompt: "Prompt", negative: "Negative prompt" }[role] ?? WORDS[name];
      const type = name === "image" ? "file" : name === "text" ? "text" : typeof value === "bigint" ? "integer" : typeof value === "number" ? (Number.isInteger(value) && name !== "cfg" && name !== "denoise" ? "integer" : "number") : "string";
      found.push({ role, label, type, pointer: pointerTo([id, "inputs", name]), short: role === "negative", wide: name === "ckpt_name", title: `${node.class_type}, node ${id}` });
    }
  }
  return twice(found.sort((one, other) => order(one) - order(other)));
}

const ORDER = ["prompt", "negative", "file"];
const order = ({ role, type }) => (ORDER.includes(role) ? ORDER.indexOf(role) : type === "text" ? 3 : 4);

/** Names the node where several fields would be called the same. */
function twice(fields) {
  return fields.map((field) => (fields.filter((other) => other.label === field.label).length > 1
    ? { ...field, role: fields.find((other) => other.label === field.label) === field ? field.role : undefined, label: `${field.label} (${field.title.replace(/.*, /, "")})` }
    : field));
}

/** The positive prompt is the text that a sampler names as `positive`, through whatever lies between. */
function textRole(content, id) {
  for (const node of Object.values(content)) {
    for (const [name, role] of [["positive", "prompt"], ["negative", "negative"]]) {
      if (leadsTo(content, node.inputs?.[name], id)) return role;
    }
  }
  return undefined;
}

function leadsTo(content, link, id, depth = 0) {
  if (!Array.isArray(link) || depth > 4) return false;
  if (String(link[0]) === id) return true;
  return Object.entries(content[link[0]]?.inputs ?? {}).some(([name, next]) => /conditioning|positive|negative|text/.test(name) && leadsTo(content, next, id, depth + 1));
}

export function pointerTo(keys) {
  return keys.map((one) => `/${String(one).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

const keysOf = (pointer) => pointer.split("/").slice(1).map((one) => one.replaceAll("~1", "/").replaceAll("~0", "~"));

export function valueAt(content, pointer) {
  return keysOf(pointer).reduce((value, one) => (value == null ? undefined : value[one]), content);
}

/** Returns the content with a value in its place; undefined takes it away. */
export function withValue(content, pointer, value) {
  const [first, ...rest] = keysOf(pointer);
  const copy = Array.isArray(content) ? [...content] : { ...content };
  if (rest.length) {
    const inner = withValue(copy[first] ?? (/^\d+$/.test(rest[0]) ? [] : {}), pointerTo(rest), value);
    if (value === undefined && Object.keys(inner).length === 0 && !(first in (content ?? {}))) return copy;
    copy[first] = inner;
  } else if (value === undefined && !Array.isArray(copy)) delete copy[first];
  else copy[first] = value;
  return copy;
}

/** Returns another content with what both have fields for: a change of the type keeps the prompt. */
export function carried(from, fields, into, wanted) {
  let content = into;
  for (const field of wanted) {
    const source = field.role && fields.find((other) => other.role === field.role);
    const value = source && valueAt(from, source.pointer);
    if (value !== undefined && value !== "" && !(field.role === "file" && String(value).startsWith("data:"))) content = withValue(content, field.pointer, value);
  }
  return content;
}

/** What of a content a person reads first: [{label, value}]. */
export function describe(content) {
  const type = isWorkflow(content) ? "pipeline" : content?.imageList ? "extra-batch-images" : content?.image ? "extra-single-image" : "image-to-image";
  return fieldsOf(type, content, { dynamic_model: true })
    .map(({ label, pointer }) => ({ label, value: valueAt(content, pointer) }))
    .filter(({ value }) => value !== undefined && value !== null && value !== "")
    .map(({ label, value }) => ({ label, value: short(value) }));
}

function short(value) {
  const text = typeof value === "string" ? value : stringify(value);
  return text.length > 600 ? `${text.slice(0, 600)} … (${text.length} characters)` : text;
}
