// Small pieces that several views show.
import { useEffect, useState } from "../vendor/hooks.js";
import { alive } from "./api.js";
import { html } from "./html.js";
import { ended } from "./tasks.js";

const SIGNS = { queued: "◌", running: "▶", cancelling: "◐", succeeded: "✓", failed: "✕", cancelled: "⊘", expired: "◷" };

export function Badge({ status }) {
  return html`<span class=${`badge ${status}`}><span aria-hidden="true">${SIGNS[status]}</span> ${status}</span>`;
}

export function Fake() {
  return html`<span class="fake" title="Made by a fake runtime: no model was run">fake</span>`;
}

export function Progress({ task }) {
  if (ended(task) || task.status === "queued") return null;
  const known = task.progress != null;
  return html`<progress max="1" value=${known ? task.progress : undefined} aria-label=${`Progress of ${task.id}`}></progress>`;
}

/** What went wrong, in the API's own words. */
export function Problem({ error }) {
  return error ? html`<p class="problem" role="alert">${error.message}</p>` : null;
}

/** A button whose action takes a while and may fail; the failure is shown beside it. */
export function Action({ label, name, run, kind = "" }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  async function press(event) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try { await run(); } catch (problem) { setError(problem); }
    setBusy(false);
  }
  return html`<span class="action">
    <button type="button" class=${kind} disabled=${busy} aria-label=${name ?? label} onClick=${press}>${label}</button>
    ${error && html`<span class="problem" role="alert">${error.message}</span>`}
  </span>`;
}

/** Returns what `ask` last answered, asked again every so many milliseconds while the page is looked at. */
export function usePolled(ask, milliseconds, dependencies) {
  const [found, setFound] = useState({ value: null, error: null });
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    let timer;
    async function look() {
      if (!document.hidden && (alive.peek() || !milliseconds)) {
        try {
          const value = await ask({ signal });
          if (!signal.aborted) setFound({ value, error: null });
        } catch (error) {
          if (!signal.aborted) setFound((before) => ({ ...before, error }));
        }
      }
      if (milliseconds && !signal.aborted) timer = setTimeout(look, milliseconds);
    }
    setFound((before) => ({ ...before, error: null }));
    look();
    return () => { clearTimeout(timer); controller.abort(); };
  }, dependencies);
  return found;
}
