// The callbacks as they arrived at the local sink, with their pictures and a link to each task.
import { useEffect } from "../vendor/hooks.js";
import { get, taskPath } from "./api.js";
import { clock } from "./format.js";
import { html } from "./html.js";
import { Thumbnail } from "./media.js";
import { Badge, usePolled } from "./parts.js";
import { to } from "./router.js";
import { callbacks, listen, listening, sink } from "./sink.js";
import { learn, tasks } from "./tasks.js";

const PICTURES = 4;

export function Callbacks() {
  useEffect(listen, []);
  return html`<section aria-labelledby="callbacks-title">
    <h2 id="callbacks-title">Callbacks</h2>
    <p class="faint" role="status">${listening.value ? "What was published on the callback topic, the newest first." : html`The sink at <a href=${sink}>${sink}</a> does not answer; trying again.`}</p>
    ${listening.value && !callbacks.value.length && html`<p class="empty">None has arrived yet.</p>`}
    <ol class="plain">${callbacks.value.map((heard) => html`<li key=${heard.received_at + heard.callback.id}><${Heard} heard=${heard} /></li>`)}</ol>
  </section>`;
}

export function Heard({ heard, pictures = true }) {
  const { callback, attributes, received_at: at } = heard;
  const status = attributes.status ?? (callback.result ? "succeeded" : "failed");
  return html`<article class=${`card callback ${status}`}>
    <p class="head"><${Badge} status=${status} />
      ${callback.id ? html`<a class="id" href=${to("tasks", { id: callback.id })}>${callback.id}</a>` : "no task's"}
      ${attributes.error_code && html`<code>${attributes.error_code}</code>`}
      <span class="faint">${[attributes.runtime, attributes.tenant, clock(at)].filter(Boolean).join(" · ")}</span></p>
    ${pictures && callback.image_url?.length > 0 && html`<${Pictures} id=${callback.id} addresses=${callback.image_url} />`}
    <details><summary>as it came</summary><pre>${JSON.stringify(callback, null, 2)}</pre></details>
  </article>`;
}

/** A callback names its pictures by s3://; the task's view has links to them. */
function Pictures({ id, addresses }) {
  const known = tasks.value.get(id);
  const { value } = usePolled(async (options) => {
    if (known?.images?.length) return known;
    const view = await get(taskPath(id), options);
    learn([view]);
    return view;
  }, 0, [id]);
  const images = (known?.images ?? value?.images ?? []).filter((image) => addresses.includes(image.s3));
  return html`<p class="thumbs">${images.slice(0, PICTURES).map((image) => html`<${Thumbnail} key=${image.s3} result=${image} task=${{ id }} />`)}</p>`;
}
