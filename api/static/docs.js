// Shows the OpenAPI document; drawn here so that it needs no network.
"use strict";

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function curl(method, path, operation, example) {
  const base = new URL("./", location.href).href.replace(/\/$/, "");
  const parts = [`curl -X ${method} '${base}${path}'`];
  if (operation.security) parts.push("-H 'x-api-key: …'");
  if (example) {
    const body = JSON.stringify(example, null, 2).replaceAll("'", "'\\''");
    parts.push("-H 'Content-Type: application/json'", `-d '${body}'`);
  }
  return parts.join(" \\\n  ");
}

function describe(path, method, operation) {
  const article = element("article", { id: operation.operationId },
    element("h3", {},
      element("span", { className: "method", textContent: method.toUpperCase() }),
      element("code", { textContent: path }),
      element("span", { textContent: operation.summary })));
  if (operation.description) article.append(element("p", { textContent: operation.description }));
  for (const parameter of operation.parameters || []) {
    article.append(element("p", {}, element("code", { textContent: parameter.name }), ` (${parameter.in}) ${parameter.description}`));
  }
  const examples = Object.entries(operation.requestBody?.content["application/json"].examples || { "": {} });
  for (const [name, example] of examples) {
    const shown = element("pre", { textContent: curl(method.toUpperCase(), path, operation, example.value) });
    article.append(name ? element("details", {}, element("summary", { textContent: `Example: ${name}` }), shown) : shown);
  }
  const rows = Object.entries(operation.responses).map(([status, answer]) =>
    element("tr", {}, element("th", { textContent: status }), element("td", { textContent: answer.description })));
  article.append(element("details", {}, element("summary", { textContent: "Answers" }), element("table", {}, ...rows)));
  return article;
}

async function begin() {
  const described = await (await fetch("openapi.json")).json();
  document.getElementById("description").textContent = described.info.description.replaceAll("`", "");
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      document.getElementById("operations").append(describe(path, method, operation));
    }
  }
}

begin();
