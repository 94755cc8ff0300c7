// The results of all tasks that succeeded, small.
import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { get, taskPath } from "./api.js";
import { html } from "./html.js";
import { useTasks } from "./list.js";
import { Thumbnail, nameOf } from "./media.js";
import { Fake, Problem } from "./parts.js";
import { place, to } from "./router.js";
import { learn } from "./tasks.js";

export function Gallery() {
  const { query } = place.value;
  const { rows, further, busy, error, loadMore } = useTasks({ status: ["succeeded"], runtime: query.runtime ?? "", tasktype: "", id: "" });
  return html`<section aria-labelledby="gallery-title">
    <h2 id="gallery-title">Gallery</h2>
    <${Problem} error=${error?.status ? error : null} />
    ${!rows.length && !busy && html`<p class="empty">No results yet. <a href=${to("submit")}>Submit a task</a>.</p>`}
    <ol class="gallery">${rows.map((task) => html`<${Shown} key=${task.id} task=${task} />`)}</ol>
    ${further && html`<button type="button" class="more" disabled=${busy} onClick=${loadMore}>Show more</button>`}
  </section>`;
}

function Shown({ task }) {
  const place = useRef(null);
  const [seen, setSeen] = useState(Boolean(task.images));
  useEffect(() => {
    if (seen) return undefined;
    const observer = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) setSeen(true); }, { rootMargin: "300px" });
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    // A list's view may have no links: they are asked for when the task comes into sight.
    if (seen && !task.images) get(taskPath(task.id)).then((view) => learn([view]), () => {});
  }, [seen]);
  const images = task.images ?? [];
  return html`<li ref=${place}>
    <a href=${to("tasks", { id: task.id })} aria-label=${`Task ${task.id}`}>
      <span class="pictures">
        ${images.slice(0, 1).map((image) => html`<${Thumbnail} key=${nameOf(image.s3)} result=${image} task=${task} />`)}
        ${task.images && !images.length && html`<span class="thumb kind">no files</span>`}
        ${images.length > 1 && html`<span class="many">${images.length}</span>`}
      </span>
      <span class="id">${task.id}</span>
    </a>
    <span class="faint">${task.runtime} ${task.fake && html`<${Fake} />`}</span>
  </li>`;
}
