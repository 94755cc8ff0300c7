// The callback sink: what was published on the callback topic, as it arrived.
import { signal } from "../vendor/signals.js";
import { asked, key } from "./keys.js";
import { eventsOf } from "./stream.js";

/** Its address: the local stack's, or a path of the sample application, which wants the API key; empty: there is none. */
export const sink = document.querySelector("meta[name=callback-sink]").content;
/** Whether it is one of a stack on this machine. */
export const local = sink !== "" && !sink.startsWith("/");
/** The newest first. */
export const callbacks = signal([]);
/** Whether the sink answers. */
export const listening = signal(false);

const KEPT = 200;
const RETRY = 1000;

/** Fetches from the sink; the API key is told to nobody but the server that the page is from. */
async function ask(path, options = {}) {
  const used = sink.startsWith("/") ? key.value : "";
  const answer = await fetch(`${sink}${path}`, { ...options, headers: used ? { "x-api-key": used } : {} });
  if (answer.status === 401 && sink.startsWith("/")) asked.value ??= "";
  if (!answer.ok) throw new Error(`The sink answered ${answer.status}.`);
  return answer;
}

/** Listens while somebody looks: the sink sends what it remembers first. */
export function listen() {
  if (!sink) return () => {};
  let over = false;
  let current = new AbortController();
  let heard = [];
  let timer = 0;
  const take = ({ event, data }) => {
    if (event !== "callback") return;
    heard.unshift(JSON.parse(data));
    heard.length = Math.min(heard.length, KEPT);
    timer ||= setTimeout(() => { timer = 0; callbacks.value = [...heard]; }, 50);
  };
  (async () => {
    while (!over) {
      current = new AbortController();
      try {
        const answer = await ask("/events", { signal: current.signal });
        heard = [];
        listening.value = true;
        callbacks.value = [];
        for await (const event of eventsOf(answer.body)) take(event);
      } catch { /* away: asked again */ }
      if (over) return;
      listening.value = false;
      await new Promise((resume) => setTimeout(resume, RETRY));
    }
  })();
  // Another key may see other callbacks.
  const forget = key.subscribe(() => current.abort());
  return () => { over = true; forget(); clearTimeout(timer); current.abort(); };
}

/** Returns the callbacks of one task. */
export async function callbacksOf({ id, tenant }, options) {
  try {
    return await (await ask(`/deliveries?${new URLSearchParams({ id, tenant: tenant ?? "" })}`, options)).json();
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    return [];
  }
}

/** Returns what the parts said of a task, {lines}; {elsewhere} where the sink does not hear them, as in Compose. */
export async function linesOf({ id }, options) {
  const answer = await fetch(`${sink}/lines?${new URLSearchParams({ id })}`, options);
  if (answer.status === 404) return { elsewhere: true };
  if (!answer.ok) throw new Error(`The sink answered ${answer.status}.`);
  return { lines: await answer.json() };
}
