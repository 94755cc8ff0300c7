// Small charts of the last hour: a queue with the tasks that wait and those at work, and what the GPUs did.
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

const MINUTE = 60 * 1000;

/** For each minute with a GPU a bar: its busy share. */
export function GpuChart({ minutes, label }) {
  const now = Math.floor(Date.now() / MINUTE) * MINUTE;
  const wide = WIDTH / 60;
  const bars = minutes.map(({ at, busy_seconds: busy, idle_seconds: idle }) => {
    const left = WIDTH - ((now - Date.parse(at)) / MINUTE + 1) * wide;
    return { left, share: busy / (busy + idle) };
  });
  const [busy, idle] = ["busy_seconds", "idle_seconds"].map((name) => minutes.reduce((sum, minute) => sum + minute[name], 0));
  const told = busy + idle > 0 ? `${Math.round((100 * idle) / (busy + idle))} % idle` : "no GPU was there";
  return html`<figure class="chart gpu">
    <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${`${label}: ${told}`}>
      ${bars.map(({ left, share }) => html`<g key=${left}>
        <rect class="idle" x=${left} y="0" width=${wide} height=${HEIGHT} />
        <rect class="busy" x=${left} y=${HEIGHT * (1 - share)} width=${wide} height=${HEIGHT * share} />
      </g>`)}
    </svg>
    <figcaption><span class="key in-flight">GPU busy</span> <span class="key gpu-idle">idle</span> · last hour: ${told}</figcaption>
  </figure>`;
}
