// The callback sink of the local stack: what was published on the callback topic, as it arrived.
import { signal } from "../vendor/signals.js";

/** Its address; empty where there is none (in AWS). */
export const sink = document.querySelector("meta[name=callback-sink]").content;
/** The newest first. */
export const callbacks = signal([]);
/** Whether the sink answers. */
export const listening = signal(false);

const KEPT = 200;

/** Listens while somebody looks: the sink sends what it remembers first. */
export function listen() {
  if (!sink) return () => {};
  let heard = [];
  let timer = 0;
  const source = new EventSource(`${sink}/events`);
  source.onopen = () => { heard = []; listening.value = true; callbacks.value = []; };
  source.onerror = () => { listening.value = false; };
  source.addEventListener("callback", (event) => {
    heard.unshift(JSON.parse(event.data));
    heard.length = Math.min(heard.length, KEPT);
    timer ||= setTimeout(() => { timer = 0; callbacks.value = [...heard]; }, 50);
  });
  return () => { clearTimeout(timer); source.close(); };
}

/** Returns the callbacks of one task. */
export async function callbacksOf({ id, tenant }, options) {
  const query = new URLSearchParams({ id, tenant: tenant ?? "" });
  const answer = await fetch(`${sink}/deliveries?${query}`, options);
  return answer.ok ? answer.json() : [];
}
