// Calls of the API: its errors as exceptions with its own sentences, and whether it answers at all.
import { signal } from "../vendor/signals.js";
import { parse, stringify } from "./json.js";
import { asked, key, tenant } from "./keys.js";

/** False while the API does not answer. */
export const alive = signal(true);

export class ApiError extends Error {
  constructor(message, { status = 0, code = "", details = null } = {}) {
    super(message);
    Object.assign(this, { status, code, details });
  }
}

/** Returns the answer; throws an ApiError for anything that is no success. */
export async function call(path, { headers = {}, ...options } = {}) {
  const used = key.value;
  let answer;
  try {
    answer = await fetch(forTenant(path, options.method), { ...options, headers: used ? { ...headers, "x-api-key": used } : headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    alive.value = false;
    throw new ApiError("The API does not answer. Is it running?", { code: "no_answer" });
  }
  alive.value = true;
  if (answer.ok) return answer;
  let told = {};
  try { told = (await answer.json()).error ?? {}; } catch { /* not in the API's shape: a proxy's page */ }
  const error = new ApiError(told.message ?? `The API answered ${answer.status}.`, { ...told, status: answer.status });
  if (error.status === 401 && used === key.value) asked.value = used ? error.message : "";
  throw error;
}

/** Names the tenant that an admin looks at, wherever tasks are asked for; what is submitted is always the key's own. */
function forTenant(path, method = "GET") {
  const about = path.startsWith("v1/tasks/") || (method === "GET" && /^v1\/(tasks|events)(\?|$)/.test(path));
  return tenant.value && about ? `${path}${path.includes("?") ? "&" : "?"}tenant=${encodeURIComponent(tenant.value)}` : path;
}

export async function get(path, options) {
  return parse(await (await call(path, { cache: "no-store", ...options })).text());
}

export async function send(method, path, body, headers = {}) {
  const answer = await call(path, {
    method,
    headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
    body: body === undefined ? undefined : stringify(body),
  });
  return answer.status === 204 ? null : parse(await answer.text());
}

export function taskPath(id, rest = "") {
  return `v1/tasks/${encodeURIComponent(id)}${rest}`;
}
