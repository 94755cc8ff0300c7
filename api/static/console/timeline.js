// A task's phases on one line of time.
import { between, clock, seconds } from "./format.js";
import { html } from "./html.js";

/** [{name, seconds}] of what is known; the rest of the whole time is named, not hidden. */
export function phasesOf(task, now = Date.now()) {
  const { timings, submitted_at: submitted, started_at: started, finished_at: finished } = task;
  const end = finished ?? new Date(now).toISOString();
  if (!timings) {
    const phases = [{ name: "queued", seconds: between(submitted, started ?? end) }];
    if (started) phases.push({ name: finished ? "attempt" : "at work", seconds: between(started, end) });
    return phases;
  }
  const phases = ["queued", "inputs", "generation", "upload"]
    .filter((name) => timings[name] != null)
    .map((name) => ({ name, seconds: timings[name] }));
  const rest = between(submitted, end) - phases.reduce((sum, phase) => sum + phase.seconds, 0);
  if (rest > 0.05) phases.push({ name: "other", seconds: rest });
  return phases;
}

export function Timeline({ task }) {
  const phases = phasesOf(task);
  const whole = phases.reduce((sum, phase) => sum + (phase.seconds ?? 0), 0) || 1;
  let from = 0;
  return html`<figure class="timeline">
    <svg viewBox="0 0 1000 14" preserveAspectRatio="none" role="img" aria-label=${phases.map(({ name, seconds: s }) => `${name} ${seconds(s)}`).join(", ")}>
      ${phases.map(({ name, seconds: s }) => {
        const at = from;
        const width = ((s ?? 0) / whole) * 1000;
        from += width;
        return html`<rect class=${name.replace(" ", "-")} x=${at} y="0" width=${Math.max(width, 2)} height="14"><title>${name}: ${seconds(s)}</title></rect>`;
      })}
    </svg>
    <figcaption>${phases.map(({ name, seconds: s }) => html`<span class=${`key ${name.replace(" ", "-")}`}>${name} ${seconds(s)}</span> `)}</figcaption>
    <p class="faint">submitted ${clock(task.submitted_at)}${task.started_at ? ` · started ${clock(task.started_at)}` : ""}${task.finished_at ? ` · ended ${clock(task.finished_at)} · ${seconds(between(task.submitted_at, task.finished_at))} in all` : ""}</p>
  </figure>`;
}
