// JSON with whole numbers as they are: ComfyUI's seeds have 64 bits, JavaScript's numbers 53. Where a browser does not
// know JSON.rawJSON yet, such a number is rounded, as everywhere in JavaScript.

const exact = typeof JSON.rawJSON === "function";

export function parse(text) {
  return exact ? JSON.parse(text, (_, value, { source } = {}) => (whole(value, source) ? BigInt(source) : value)) : JSON.parse(text);
}

function whole(value, source) {
  return typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source ?? "");
}

export function stringify(value, indent) {
  return JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? JSON.rawJSON(String(inner)) : inner), indent);
}

/** Returns the number that a text is; undefined when it is none. */
export function numberOf(text) {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) return undefined;
  return exact && whole(value, text.trim()) ? BigInt(text.trim()) : value;
}
