// The fields of a body, from its JSON Schema. Pure.

const DEEPEST = 3;

/** Returns a schema in place of a reference to it; what stands beside the reference (a description) stays. */
function resolved(schema, document) {
  const { $ref: reference, ...beside } = schema ?? {};
  if (!reference) return beside;
  const target = reference.split("/").slice(1).reduce((place, name) => place?.[name], document);
  return { ...resolved(target, document), ...beside };
}

export function typeOf(schema, document) {
  const found = resolved(schema, document);
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  const parts = found.anyOf ?? found.oneOf;
  if (parts) return [...new Set(parts.map((part) => typeOf(part, document)))].join(" | ");
  if (found.type === "array") return `list of ${typeOf(found.items, document)}`;
  return [found.type ?? "any"].flat().join(" | ") + (found.format ? ` (${found.format})` : "");
}

/** [{name, type, required, description}], inner fields by their path. */
export function fieldsOf(schema, document, path = "", depth = 0) {
  const found = resolved(schema, document);
  const parts = found.anyOf ?? found.oneOf ?? found.allOf;
  if (parts) return parts.flatMap((part) => fieldsOf(part, document, path, depth));
  if (found.type === "array") return fieldsOf(found.items, document, `${path}[]`, depth);
  if (!found.properties || depth > DEEPEST) return [];
  return Object.entries(found.properties).flatMap(([name, inner]) => {
    const own = path ? `${path}.${name}` : name;
    const told = resolved(inner, document);
    const bounds = [["minimum", "at least"], ["maximum", "at most"], ["minLength", "characters: at least"], ["maxLength", "characters: at most"]]
      .filter(([key]) => told[key] !== undefined).map(([key, word]) => `${word} ${told[key]}`).join(", ");
    const fallback = told.default !== undefined && told.default !== null && told.default !== "" ? `default ${JSON.stringify(told.default)}` : "";
    return [
      { name: own, type: typeOf(inner, document), required: (found.required ?? []).includes(name), description: [told.description, bounds, fallback].filter(Boolean).join("; ") },
      ...fieldsOf(inner, document, own, depth + 1),
    ];
  });
}
