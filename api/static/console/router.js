// Where in the page one is: `#/tasks?status=failed`. In the hash, so that the API serves one page whatever its prefix is.
import { computed, signal } from "../vendor/signals.js";

const hash = signal(location.hash);
addEventListener("hashchange", () => { hash.value = location.hash; });

/** {name, id, query}: the tab, what it shows, and its filters. */
export const place = computed(() => {
  const [path, query = ""] = hash.value.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  return { name: name || "tasks", id: decoded(rest.join("/")), query: Object.fromEntries(new URLSearchParams(query)) };
});

export function to(name, { id = "", query = {} } = {}) {
  const chosen = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return `#/${name}${id ? `/${encodeURIComponent(id)}` : ""}${chosen ? `?${chosen}` : ""}`;
}

export function go(...where) {
  location.hash = to(...where);
}

/** Changes the filters without a new entry in the history. */
export function replaceQuery(query) {
  history.replaceState(null, "", to(place.value.name, { id: place.value.id, query }));
  hash.value = location.hash;
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}
