// One field of the form, by its type.
import { useEffect, useId, useRef, useState } from "../vendor/hooks.js";
import { html } from "./html.js";
import { numberOf } from "./json.js";
import { Problem } from "./parts.js";
import { upload } from "./upload.js";

export function Field({ field, value, set, sample }) {
  const { label, type = "string", short, wide, title } = field;
  if (isFile(type)) return html`<${FileField} field=${field} value=${value} set=${set} sample=${sample} />`;
  if (/^bool/i.test(type)) {
    return html`<label class="check" title=${title}><input type="checkbox" checked=${Boolean(value)} onChange=${(event) => set(event.target.checked)} /> ${label}</label>`;
  }
  if (isText(field, type)) {
    return html`<label class="whole" title=${title}>${label} <textarea rows=${short ? 2 : 3} value=${value ?? ""} data-pointer=${field.pointer} onInput=${(event) => set(event.target.value || (short ? undefined : ""))}></textarea></label>`;
  }
  const choices = field.choices ?? [];
  if (choices.length) {
    const all = choices.includes(value) || value == null ? choices : [value, ...choices];
    return html`<label class=${wide || all.some((choice) => String(choice).length > 16) ? "wide" : ""} title=${title}>${label} <select value=${value} data-pointer=${field.pointer} onChange=${(event) => set(all[event.target.selectedIndex])}>
      ${all.map((choice) => html`<option key=${String(choice)} value=${String(choice)} selected=${choice === value}>${String(choice)}</option>`)}</select></label>`;
  }
  return html`<${Line} field=${field} value=${value} set=${set} />`;
}

const isFile = (type) => /^(file|image|video|audio)$/i.test(type);
const isText = (field, type) => type === "text" || field.multiline === true;
const isNumber = (type) => /^(int|integer|number|float)$/i.test(type);

function Line({ field, value, set }) {
  const { label, type, wide, title, pointer, placeholder = "", suggestions } = field;
  const list = useId();
  const number = isNumber(type);
  const whole = /^int/i.test(type);
  function take(event) {
    const text = event.target.value;
    if (text === "") set(undefined);
    else if (!number) set(text);
    else if (numberOf(text) !== undefined) set(numberOf(text));
  }
  return html`<label class=${wide ? "wide" : ""} title=${title}>${label}
    <input type=${number ? "number" : "text"} value=${String(value ?? "")} data-pointer=${pointer} placeholder=${placeholder} spellcheck="false" list=${suggestions ? list : undefined}
      min=${field.min ?? field.minimum} max=${field.max ?? field.maximum} step=${number ? (whole ? field.step ?? 1 : "any") : undefined} onInput=${take} />
    ${suggestions && html`<datalist id=${list}>${suggestions.map((one) => html`<option value=${one} />`)}</datalist>`}
  </label>`;
}

/** An input file: an address, a file that is uploaded, or the sample picture. */
function FileField({ field, value, set, sample }) {
  const { label, pointer, title } = field;
  const [state, setState] = useState(NOTHING);
  const chooser = useRef(null);
  const giveUp = useRef(() => {});
  // The form may have changed when the file has arrived.
  const latest = useRef(set);
  latest.current = set;
  useEffect(() => {
    const left = () => giveUp.current();
    addEventListener("pagehide", left);
    return () => {
      removeEventListener("pagehide", left);
      left();
    };
  }, []);

  async function take(file) {
    giveUp.current();
    if (!file) return;
    const stop = new AbortController();
    const show = (change) => { if (!stop.signal.aborted) setState({ ...NOTHING, ...change }); };
    giveUp.current = () => {
      stop.abort();
      setState(NOTHING);
    };
    show({ busy: true });
    try {
      const address = await upload(file, stop.signal, (share) => show({ busy: true, share }));
      if (stop.signal.aborted) return;
      latest.current(address);
      show({ shown: file.type.startsWith("image/") ? URL.createObjectURL(file) : "" });
    } catch (error) {
      show({ error });
      if (!stop.signal.aborted) chooser.current.value = "";
    }
  }
  function cancel() {
    giveUp.current();
    // The same file may be chosen again.
    chooser.current.value = "";
  }
  function write(text) {
    cancel();
    set(text);
  }
  const text = String(value ?? "");
  const given = text.length > 300 ? `${text.slice(0, 60)}… (${text.length} characters)` : text;
  return html`<fieldset class="whole file-field" title=${title}><legend>${label}</legend>
    <input type="text" inputmode="url" placeholder="https://… or s3://…" aria-label=${`${label}: address`} data-pointer=${pointer} value=${given} spellcheck="false" onInput=${(event) => write(event.target.value)} />
    <span class="row"><input type="file" ref=${chooser} aria-label=${`${label}: a file of yours`} onChange=${(event) => take(event.target.files[0])} />
      ${sample && text !== sample && html`<button type="button" onClick=${() => write(sample)}>Use the sample picture</button>`}</span>
    ${state.busy && html`<span class="row"><span class="faint" role="status">Uploading …</span>
      <progress max="1" value=${state.share} aria-label=${`${label}: upload`}></progress>
      <button type="button" onClick=${cancel}>Cancel the upload</button></span>`}
    ${state.shown && html`<img class="thumb" src=${state.shown} alt="the file that was uploaded" />`}
    <${Problem} error=${state.error} />
  </fieldset>`;
}

/** What a file's field tells while no file was chosen. */
const NOTHING = { busy: false, share: undefined, error: null, shown: "" };
