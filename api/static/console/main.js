// The console: its frame, and which view is shown.
import { useEffect, useRef } from "../vendor/hooks.js";
import { render } from "../vendor/preact.js";
import "../vendor/signals.js";
import { alive } from "./api.js";
import { Callbacks } from "./callbacks.js";
import { startFollowing } from "./follow.js";
import { Gallery } from "./gallery.js";
import { html } from "./html.js";
import { TaskList } from "./list.js";
import { KeyAsked, KeyChoice } from "./login.js";
import { watchPulse } from "./pulse.js";
import { who } from "./keys.js";
import { place, to } from "./router.js";
import { Runtimes, watchRuntimes } from "./runtimes.js";
import { sink } from "./sink.js";
import { Submit } from "./submit.js";
import { TaskPage } from "./task.js";
import { Usage } from "./usage.js";

const VIEWS = { tasks: TaskList, gallery: Gallery, runtimes: Runtimes, usage: Usage, callbacks: Callbacks, submit: Submit };
const TABS = [["tasks", "Tasks"], ["gallery", "Gallery"], ["runtimes", "Runtimes"], ["usage", "Usage"], ...(sink ? [["callbacks", "Callbacks"]] : []), ["submit", "New task"]];

function Console() {
  const { name, id } = place.value;
  const first = useRef(true);
  useEffect(() => {
    document.title = id ? `${id} · Darkroom` : `${TABS.find(([tab]) => tab === name)?.[1] ?? "Tasks"} · Darkroom`;
    // Whoever does not see the page hears that another view is there.
    if (!first.current) document.getElementById("main").focus();
    first.current = false;
  }, [name, id]);
  const View = name === "tasks" && id ? TaskPage : VIEWS[name] ?? TaskList;
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>Skip to the content</a>
    <header>
      <h1><a href=${to("tasks")}><img src="static/icon.svg" alt="" width="24" height="24" /> Darkroom</a></h1>
      <nav aria-label="Console">${TABS.map(([tab, word]) => html`<a key=${tab} href=${to(tab)} aria-current=${tab === name ? "page" : undefined}>${word}</a>`)}<a href="docs">API</a></nav>
      <${KeyChoice} />
    </header>
    <div role="alert" class="away-place">${!alive.value && html`<p class="away">The API does not answer. This page goes on by itself when it is back.</p>`}</div>
    <main id="main" tabindex="-1"><${View} key=${`${name}/${id}/${who.value}`} /></main>
    <${KeyAsked} />`;
}

render(html`<${Console} />`, document.getElementById("console"));
startFollowing();
watchRuntimes();
watchPulse();
