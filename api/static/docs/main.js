// Shows the OpenAPI document: drawn here so that it needs no network, with each body's fields and a form to try it.
import { render } from "../vendor/preact.js";
import { html } from "../console/html.js";
import { key } from "../console/keys.js";
import { fieldsOf, typeOf } from "./schema.js";
import { Try } from "./try.js";

function curl(method, path, operation, example) {
  const base = new URL("./", location.href).href.replace(/\/$/, "");
  const parts = [`curl -X ${method} '${base}${path}'`];
  if (operation.security) parts.push("-H 'x-api-key: …'");
  if (example) parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(example, null, 2).replaceAll("'", "'\\''")}'`);
  return parts.join(" \\\n  ");
}

function Fields({ title, fields }) {
  if (!fields.length) return null;
  return html`<details open=${fields.length < 9}><summary>${title}</summary><div class="scroll"><table class="fields-table">
    <thead><tr><th>Field</th><th>Type</th><th>What it is</th></tr></thead>
    <tbody>${fields.map(({ name, type, required, description }) => html`<tr key=${name}>
      <th scope="row"><code>${name}</code>${required && html` <b class="required">required</b>`}</th><td><code>${type}</code></td><td>${description}</td></tr>`)}</tbody>
  </table></div></details>`;
}

function Operation({ path, method, operation, document }) {
  const media = operation.requestBody?.content["application/json"];
  const examples = Object.entries(media?.examples ?? {});
  const first = examples[0]?.[1].value;
  const parameters = (operation.parameters ?? []).map((one) => ({ name: one.name, type: `${typeOf(one.schema, document)}, in ${one.in}`, required: one.required, description: one.description }));
  const answers = Object.entries(operation.responses);
  const [, good] = answers.find(([status, one]) => status < 300 && one.content?.["application/json"]) ?? [];
  return html`<article id=${operation.operationId}>
    <h3><span class="method">${method}</span> <code>${path}</code> <a href=${`#${operation.operationId}`}>${operation.summary}</a></h3>
    ${operation.description && html`<p>${operation.description}</p>`}
    <${Fields} title="Parameters" fields=${parameters} />
    ${media && html`<${Fields} title="Body" fields=${fieldsOf(media.schema, document)} />`}
    ${examples.map(([name, example]) => html`<details key=${name}><summary>Example: ${name}</summary><pre>${curl(method, path, operation, example.value)}</pre></details>`)}
    ${!examples.length && html`<pre>${curl(method, path, operation)}</pre>`}
    <details><summary>Answers</summary><table>${answers.map(([status, answer]) => html`<tr key=${status}><th>${status}</th><td>${answer.description}</td></tr>`)}</table>
      ${good && html`<${Fields} title="Fields of the answer" fields=${fieldsOf(good.content["application/json"].schema, document)} />`}</details>
    <${Try} path=${path} method=${method} operation=${operation} body=${first && JSON.stringify(first, null, 2)} />
  </article>`;
}

function Page({ document }) {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })));
  return html`<p class="prose">${document.info.description.replaceAll("`", "")}</p>
    ${operations.some(({ operation }) => operation.security) && html`<p class="prose">Requests from here carry ${key.value ? "the API key that the console uses" : html`no API key; give one in <a href="./">the console</a>`}.</p>`}
    ${operations.map((one) => html`<${Operation} key=${one.operation.operationId} ...${one} document=${document} />`)}`;
}

// Behind a gateway, the document takes a key as well.
const answer = await fetch("openapi.json", { headers: key.value ? { "x-api-key": key.value } : {} });
const page = answer.ok ? html`<${Page} document=${await answer.json()} />` : html`<p class="prose">The API shows its document to an API key; give one in <a href="./">the console</a>.</p>`;
render(page, document.getElementById("operations"));
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
