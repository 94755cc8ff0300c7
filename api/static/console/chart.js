// A small chart of a queue: its tasks that wait, and those at work, over the last hour.
import { html } from "./html.js";

const WIDTH = 300;
const HEIGHT = 60;
const HOUR = 3600 * 1000;

export function Chart({ points, label }) {
  const most = Math.max(1, ...points.map((point) => Math.max(point.waiting, point.in_flight)));
  const now = points.at(-1)?.at ?? 0;
  const line = (name) => points.map((point) => `${(WIDTH - ((now - point.at) / HOUR) * WIDTH).toFixed(1)},${(HEIGHT - (point[name] / most) * (HEIGHT - 4) - 2).toFixed(1)}`).join(" ");
  const minutes = points.length ? Math.round((now - points[0].at) / 60000) : 0;
  return html`<figure class="chart">
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${`${label}: at most ${most}`}>
      <polyline class="in-flight" points=${line("in_flight")} />
      <polyline class="waiting" points=${line("waiting")} />
    </svg>
    <figcaption><span class="key waiting">waiting</span> <span class="key in-flight">at work</span> · most ${most} · seen for ${minutes} min</figcaption>
  </figure>`;
}
