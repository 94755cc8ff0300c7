// Results shown as what they are. The browser loads them itself, late and from where they lie, and keeps them in its own
// cache: a service that makes thumbnails would cost a part of its own, and results are seldom looked at twice.
import { useState } from "../vendor/hooks.js";
import { html } from "./html.js";

const KINDS = [
  ["image", /\.(png|jpe?g|gif|webp|avif|svg|bmp)$/i],
  ["video", /\.(mp4|webm|mov|mkv)$/i],
  ["audio", /\.(mp3|wav|flac|ogg|opus|m4a)$/i],
  ["text", /\.(txt|json|csv|md|srt|vtt|out)$/i],
  ["model", /\.(glb|gltf|obj|stl|ply|fbx|splat|usdz)$/i],
];
const WORDS = { model: "3D model", file: "file" };
const FRESH = 30 * 60 * 1000;

export function kindOf(address) {
  return KINDS.find(([, ending]) => ending.test(address.split("?")[0]))?.[0] ?? "file";
}

export function nameOf(address) {
  return address.split("/").pop();
}

const links = new Map();

/** Returns one link for as long as it is good: each view signs a new one, which the browser's cache would not know. */
export function linkTo({ s3, url }) {
  const kept = links.get(s3);
  if (kept && Date.now() - kept.at < FRESH) return kept.url;
  links.set(s3, { url, at: Date.now() });
  return url;
}

/** One result in full. */
export function Result({ result, task }) {
  const url = linkTo(result);
  const name = nameOf(result.s3);
  return html`<figure class=${`result ${kindOf(name)}`}>
    <${Shown} kind=${kindOf(name)} url=${url} name=${name} label=${`result ${name} of ${task.id}`} />
    <figcaption><a href=${url} target="_blank" rel="noopener">${name}</a></figcaption>
  </figure>`;
}

function Shown({ kind, url, name, label }) {
  const [broken, setBroken] = useState(false);
  const failed = () => setBroken(true);
  if (broken) return html`<p class="faint">${name} cannot be shown here: its link is too old, the file is gone, or this browser does not play it.</p>`;
  if (kind === "image") return html`<a href=${url} target="_blank" rel="noopener"><img src=${url} alt=${label} loading="lazy" decoding="async" onError=${failed} /></a>`;
  if (kind === "video") return html`<video src=${url} controls loop muted playsinline preload="metadata" aria-label=${label} onError=${failed}></video>`;
  if (kind === "audio") return html`<audio src=${url} controls preload="none" aria-label=${label} onError=${failed}></audio>`;
  if (kind === "text") return html`<iframe src=${url} sandbox="" loading="lazy" title=${label}></iframe>`;
  return html`<a class="file" href=${url} download=${name}>${WORDS[kind]} · download</a>`;
}

/** One result small: what a list or the gallery shows of it. */
export function Thumbnail({ result, task }) {
  const kind = kindOf(result.s3);
  const [broken, setBroken] = useState(false);
  const failed = () => setBroken(true);
  const label = `result of ${task.id}`;
  if (kind === "image" && !broken) {
    return html`<img class="thumb" src=${linkTo(result)} alt=${label} loading="lazy" decoding="async" width="160" height="160" onError=${failed} />`;
  }
  if (kind === "video" && !broken) {
    return html`<video class="thumb" src=${linkTo(result)} muted playsinline preload="metadata" aria-label=${label} onError=${failed}></video>`;
  }
  return html`<span class="thumb kind" role="img" aria-label=${label}>${broken ? "gone" : WORDS[kind] ?? kind}</span>`;
}
