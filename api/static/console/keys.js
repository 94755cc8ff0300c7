// The API keys that this tab knows, each by a name of the user's own, and which of them is used.
import { computed, signal } from "../vendor/signals.js";

const PLACE = "keys";

/** [{name, key, tenant}]; in sessionStorage, so that they go with the tab. */
export const keys = signal(kept().keys);
export const chosen = signal(kept().chosen);
const used = computed(() => keys.value.find((one) => one.name === chosen.value));
export const key = computed(() => used.value?.key ?? "");
/** Whose tasks an admin's key looks at; empty: its own tenant's. */
export const tenant = computed(() => used.value?.tenant ?? "");
/** Changes with whose tasks are shown. */
export const who = computed(() => `${tenant.value}/${key.value}`);
/** Why a key is asked for: null, or the API's own sentence. */
export const asked = signal(null);

export function add(name, value, whose = "") {
  keys.value = [...keys.value.filter((one) => one.name !== name), { name, key: value, tenant: whose }];
  choose(name);
}

export function choose(name) {
  chosen.value = name;
  asked.value = null;
  sessionStorage.setItem(PLACE, JSON.stringify({ keys: keys.value, chosen: name }));
}

export function forget(name) {
  keys.value = keys.value.filter((one) => one.name !== name);
  choose(keys.value[0]?.name ?? "");
}

function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem(PLACE));
    return { keys: found.keys, chosen: found.chosen };
  } catch {
    return { keys: [], chosen: "" };
  }
}
